package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	diskfs "github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"
)

// Disk is a partition table that was read.
type Disk struct {
	ID         string // the disk's GUID, lower-case
	Partitions []Partition
}

// ErrNoTable is returned for a disk that has no GUID partition table.
var ErrNoTable = errors.New("there is no GUID partition table")

// Bounds of a table. The specification asks for entries of 128
// bytes or a multiple, which nobody writes, and for 128 of them or more.
const (
	maxEntries = 1024
	entrySize  = 128
)

// Read reads the table at the start of a disk of size bytes with sectors of 512
// bytes. Partitions that are not within the disk are an error, and so is a table
// whose checksums are wrong: the copy at the end of the disk is not consulted.
func Read(r io.ReaderAt, size int64) (Disk, error) {
	if err := checkHeader(r); err != nil {
		return Disk{}, fmt.Errorf("reading the partition table: %w", err)
	}
	table, err := diskfs.Read(readOnly{ReaderAt: r}, SectorSize, SectorSize)
	if err != nil {
		return Disk{}, fmt.Errorf("reading the partition table: %w", err)
	}
	d := Disk{ID: strings.ToLower(table.GUID)}
	for _, p := range table.Partitions {
		if p.Type == diskfs.Unused {
			continue
		}
		id, err := uuid.Parse(p.GUID)
		if err != nil {
			return Disk{}, fmt.Errorf("reading the partition table: partition %d: %w", p.Index, err)
		}
		sectors := uint64(size / SectorSize)
		if p.Start > p.End || p.End >= sectors {
			return Disk{}, fmt.Errorf("reading the partition table: partition %d has the sectors %d to %d of a disk of %d", p.Index, p.Start, p.End, sectors)
		}
		d.Partitions = append(d.Partitions, Partition{
			Type: strings.ToLower(string(p.Type)), ID: id, Name: p.Name,
			Start: int64(p.Start), Sectors: int64(p.End - p.Start + 1), Attributes: p.Attributes,
		})
	}
	return d, nil
}

// checkHeader looks at what go-diskfs takes on trust: the number of entries
// (bytes 80 to 83 of the header) and their size (84 to 87), which decide on how
// much it allocates and whether it ever ends.
func checkHeader(r io.ReaderAt) error {
	var h [92]byte
	if n, err := r.ReadAt(h[:], SectorSize); n < len(h) {
		if err == io.EOF {
			return ErrNoTable
		}
		return err
	}
	if string(h[:8]) != "EFI PART" {
		return ErrNoTable
	}
	count, size := binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	if count > maxEntries || size != entrySize {
		return fmt.Errorf("%d entries of %d bytes are not believable", count, size)
	}
	return nil
}

// readOnly is what go-diskfs takes for a file. It does not tell its size, so that
// the copy of the table is not looked for.
type readOnly struct {
	offsetsOnly
	io.ReaderAt
}
