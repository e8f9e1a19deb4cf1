package iso

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrNoBoot is returned by BootImage for a volume that UEFI can't start.
var ErrNoBoot = errors.New("it has no boot image for UEFI")

const (
	platformEFI = 0xef
	bootable    = 0x88
)

// BootImage returns the image that UEFI firmware starts: the first bootable
// entry of the El Torito catalog for its platform. It ends where the entry says,
// or where the volume ends when it says 0 or 1 sectors (UEFI 2.10, section
// 13.3.2.1).
func (v *Image) BootImage() (*io.SectionReader, error) {
	if v.catalog == 0 {
		return nil, fmt.Errorf("opening the boot image: %w", ErrNoBoot)
	}
	b := make([]byte, SectorSize)
	if n, err := v.r.ReadAt(b, int64(v.catalog)*SectorSize); n < len(b) {
		return nil, fmt.Errorf("reading the boot catalog: %w", err)
	}
	entry, err := efiEntry(b)
	if err != nil {
		return nil, fmt.Errorf("reading the boot catalog: %w", err)
	}
	start := int64(binary.LittleEndian.Uint32(entry[8:])) * SectorSize
	size := int64(binary.LittleEndian.Uint16(entry[6:])) * 512
	if size <= 512 {
		size = v.Size - start
	}
	if start == 0 || size <= 0 || start+size > v.Size {
		return nil, fmt.Errorf("opening the boot image: %d bytes at %d are not within the volume's %d", size, start, v.Size)
	}
	return io.NewSectionReader(v.r, start, size), nil
}

// efiEntry finds the entry (El Torito 1.0, figures 2 to 5): the validation
// entry, the default entry, then headers with the entries of their sections.
func efiEntry(b []byte) ([]byte, error) {
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	if b[0] != 1 || b[30] != 0x55 || b[31] != 0xaa || sum != 0 {
		return nil, errors.New("the validation entry is damaged")
	}
	platform := b[1]
	for at := 32; at+32 <= len(b); at += 32 {
		switch e := b[at : at+32]; {
		case e[0] == bootable && platform == platformEFI:
			return e, nil
		case e[0] == 0x90 || e[0] == 0x91: // a section's header, the last one's
			platform = e[1]
		}
	}
	return nil, ErrNoBoot
}
