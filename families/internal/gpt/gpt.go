// Package gpt writes GUID partition tables (UEFI specification 2.10, chapter 5)
// with go-diskfs, into memory instead of a disk: it returns the few sectors at
// both ends of the disk, to be put around the partitions' contents.
package gpt

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"

	diskfs "github.com/diskfs/go-diskfs/partition/gpt"
)

const (
	// SectorSize is the size of a logical block in bytes.
	SectorSize = 512
	// FirstUsable is the first sector that a partition may have: before it are
	// the protective MBR, the header and 128 entries of 128 bytes.
	FirstUsable = 34
	// TailSectors is the number of sectors that the backup table takes at the
	// end of the disk.
	TailSectors = 33
	// ESP is the type of an EFI system partition.
	ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	// LinuxData is the type of a partition with data that no program mounts by
	// its type (UAPI Discoverable Partitions Specification, "Generic Linux Data").
	LinuxData = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	// ReadOnly is the partition attribute that asks for a read-only mount (UAPI
	// Discoverable Partitions Specification, "Partition Flags").
	ReadOnly = 1 << 60
	// NoAuto is the partition attribute that asks not to be mounted without
	// being told to (the same).
	NoAuto = 1 << 63
)

// Partition is one entry of the table.
type Partition struct {
	Type       string   // type GUID in text form
	ID         [16]byte // unique GUID in RFC 9562 byte order
	Name       string   // up to 36 UTF-16 code units
	Start      int64    // first sector
	Sectors    int64
	Attributes uint64
}

// Table is a partition table as bytes.
type Table struct {
	// Head belongs at the start of the disk: protective MBR, header, entries.
	Head []byte
	// Tail belongs at the end of the disk, TailSectors long.
	Tail []byte
	// TailOffset is where Tail begins, in bytes.
	TailOffset int64
}

// New returns the table of a disk of size bytes. Partitions are numbered from 1
// in the order given. It fails when they overlap or leave the usable sectors.
func New(size int64, disk [16]byte, partitions []Partition) (Table, error) {
	if size%SectorSize != 0 || size < (FirstUsable+TailSectors)*SectorSize {
		return Table{}, fmt.Errorf("partitioning a disk of %d bytes: it is too small or not a multiple of %d", size, SectorSize)
	}
	table := &diskfs.Table{
		LogicalSectorSize:  SectorSize,
		PhysicalSectorSize: SectorSize,
		GUID:               guid(disk),
		ProtectiveMBR:      true,
	}
	for i, p := range partitions {
		if err := check(size, partitions[:i], p); err != nil {
			return Table{}, fmt.Errorf("partitioning a disk of %d bytes: partition %d (%q): %w", size, i+1, p.Name, err)
		}
		table.Partitions = append(table.Partitions, &diskfs.Partition{
			Index:      i + 1,
			Start:      uint64(p.Start),
			End:        uint64(p.Start + p.Sectors - 1),
			Size:       uint64(p.Sectors) * SectorSize,
			Type:       diskfs.Type(p.Type),
			Name:       p.Name,
			GUID:       guid(p.ID),
			Attributes: p.Attributes,
		})
	}
	ends := newEnds(size)
	if err := table.Write(ends, size); err != nil {
		return Table{}, fmt.Errorf("partitioning a disk of %d bytes: %w", size, err)
	}
	completeMBR(ends.head, size)
	return Table{Head: ends.head, Tail: ends.tail, TailOffset: ends.tailOffset()}, nil
}

func check(size int64, before []Partition, p Partition) error {
	lastUsable := size/SectorSize - TailSectors - 1
	if p.Start < FirstUsable || p.Sectors <= 0 || p.Start > lastUsable-p.Sectors+1 {
		return fmt.Errorf("%d sectors from %d are not within %d to %d", p.Sectors, p.Start, FirstUsable, lastUsable)
	}
	// go-diskfs would write past the entry.
	if len(utf16.Encode([]rune(p.Name))) > 36 {
		return fmt.Errorf("the name has more than 36 UTF-16 code units")
	}
	for _, other := range before {
		if p.Start < other.Start+other.Sectors && other.Start < p.Start+p.Sectors {
			return fmt.Errorf("it overlaps %q", other.Name)
		}
	}
	return nil
}

// completeMBR sets what go-diskfs leaves out of the protective partition's
// record (UEFI 2.10, table 5.4): the CHS addresses, and the size of a disk that
// is too large for the field.
func completeMBR(mbr []byte, size int64) {
	record := mbr[446:462]
	copy(record[1:4], []byte{0x00, 0x02, 0x00})
	copy(record[5:8], []byte{0xff, 0xff, 0xff})
	sectors := min(size/SectorSize-1, 1<<32-1)
	binary.LittleEndian.PutUint32(record[12:16], uint32(sectors))
}

// guid writes a GUID as text; go-diskfs swaps the bytes of the first three
// fields for the disk.
func guid(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
