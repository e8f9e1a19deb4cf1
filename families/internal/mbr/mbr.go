// Package mbr writes master boot records: the partition table in the first
// sector of a disk, for firmware that takes no GPT. The layout is that of the
// UEFI specification 2.10, table 5.1 ("Legacy MBR"), without boot code:
//
//	440  4 bytes   the disk's signature, little-endian
//	446  4 × 16    partition records
//	510  2 bytes   0x55 0xaa
//
// A record has a flag for the active partition (1 byte), the address of the
// first sector as cylinder, head and sector (3), the type (1), the address of
// the last sector (3), the first sector (4) and the number of sectors (4).
package mbr

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Sizes in bytes, and the number of records.
const (
	SectorSize  = 512
	offDisk     = 440
	offTable    = 446
	recordSize  = 16
	offMagic    = 510
	maxRecords  = 4
	active      = 0x80
	headCount   = 255 // the geometry that everyone assumes
	trackLength = 63
)

// Partition types.
const (
	FAT32 byte = 0x0c // FAT32, addressed by sector number
	Linux byte = 0x83
)

// Partition is one record.
type Partition struct {
	Type    byte
	Active  bool
	Start   int64 // first sector
	Sectors int64
}

// New returns the first sector of a disk of size bytes. It fails when there are
// more than four partitions, when they overlap or leave the disk, or when one
// lies beyond what 32 bits can say: 2 TiB.
func New(size int64, signature uint32, partitions []Partition) ([]byte, error) {
	if len(partitions) > maxRecords {
		return nil, fmt.Errorf("partitioning a disk: %d partitions don't fit into %d records", len(partitions), maxRecords)
	}
	sector := make([]byte, SectorSize)
	le := binary.LittleEndian
	le.PutUint32(sector[offDisk:], signature)
	for i, p := range partitions {
		if err := check(size/SectorSize, partitions[:i], p); err != nil {
			return nil, fmt.Errorf("partitioning a disk of %d bytes: partition %d: %w", size, i+1, err)
		}
		r := sector[offTable+i*recordSize:][:recordSize]
		if p.Active {
			r[0] = active
		}
		putAddress(r[1:4], p.Start)
		r[4] = p.Type
		putAddress(r[5:8], p.Start+p.Sectors-1)
		le.PutUint32(r[8:], uint32(p.Start))
		le.PutUint32(r[12:], uint32(p.Sectors))
	}
	sector[offMagic], sector[offMagic+1] = 0x55, 0xaa
	return sector, nil
}

func check(disk int64, before []Partition, p Partition) error {
	if p.Start < 1 || p.Sectors < 1 || p.Start > disk-p.Sectors {
		return fmt.Errorf("%d sectors from %d are not within 1 to %d", p.Sectors, p.Start, disk-1)
	}
	if p.Start+p.Sectors-1 > math.MaxUint32 {
		return fmt.Errorf("it ends behind 2 TiB")
	}
	for i, other := range before {
		if p.Start < other.Start+other.Sectors && other.Start < p.Start+p.Sectors {
			return fmt.Errorf("it overlaps partition %d", i+1)
		}
	}
	return nil
}

// putAddress writes a sector's address: head, then sector from 1 with the upper
// two bits of the cylinder, then the cylinder. What is out of range gets the
// largest head and sector of the last cylinder.
func putAddress(b []byte, lba int64) {
	cylinder := lba / (headCount * trackLength)
	if cylinder > 1023 {
		b[0], b[1], b[2] = 0xfe, 0xff, 0xff
		return
	}
	b[0] = byte(lba / trackLength % headCount)
	b[1] = byte(lba%trackLength+1) | byte(cylinder>>8)<<6
	b[2] = byte(cylinder)
}
