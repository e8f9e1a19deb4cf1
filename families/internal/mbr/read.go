package mbr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Read returns the partitions of a disk of size bytes. Records of type 0 are
// empty; one that leaves the disk or overlaps another is an error.
func Read(r io.ReaderAt, size int64) ([]Partition, error) {
	sector := make([]byte, SectorSize)
	if n, err := r.ReadAt(sector, 0); n < len(sector) {
		return nil, fmt.Errorf("reading the partition table: %w", err)
	}
	if sector[offMagic] != 0x55 || sector[offMagic+1] != 0xaa {
		return nil, errors.New("reading the partition table: there is none")
	}
	var list []Partition
	for i := range maxRecords {
		b := sector[offTable+i*recordSize:][:recordSize]
		if b[4] == 0 {
			continue
		}
		p := Partition{
			Type: b[4], Active: b[0] == active,
			Start: int64(binary.LittleEndian.Uint32(b[8:])), Sectors: int64(binary.LittleEndian.Uint32(b[12:])),
		}
		if err := check(size/SectorSize, list, p); err != nil {
			return nil, fmt.Errorf("reading the partition table: record %d: %w", i+1, err)
		}
		list = append(list, p)
	}
	return list, nil
}
