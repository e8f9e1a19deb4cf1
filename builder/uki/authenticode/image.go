package authenticode

import (
	"cmp"
	"crypto/sha256"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Offsets in bytes (Microsoft, "PE Format"): the DOS header ends with the
// offset of the PE signature, behind which are 4 bytes of signature and 20 of
// COFF header, then the optional header.
const (
	offPE        = 60
	offOptional  = 4 + 20
	offChecksum  = offOptional + 64
	offDirectory = offOptional + 112 // data directories of PE32+
	security     = 4                 // the certificate table's directory
)

// layout is where an unsigned program keeps what its signature leaves out.
type layout struct {
	size     int64
	checksum int64 // 4 bytes
	entry    int64 // 8 bytes: the certificate table's place and size
}

// padded returns the size with which the certificate table is aligned.
func (l layout) padded() int64 { return alignUp(l.size) }

func parse(program io.ReaderAt, size int64) (layout, error) {
	f, err := pe.NewFile(io.NewSectionReader(program, 0, size))
	if err != nil {
		return layout{}, fmt.Errorf("reading its headers: %w", err)
	}
	h, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	switch {
	case !ok:
		return layout{}, errors.New("it is not of the format PE32+")
	case h.NumberOfRvaAndSizes <= security:
		return layout{}, errors.New("its headers have no room for a signature")
	case h.DataDirectory[security].VirtualAddress != 0:
		return layout{}, errors.New("it is signed already")
	}
	if err := checkSections(f.Sections, int64(h.SizeOfHeaders), size); err != nil {
		return layout{}, err
	}
	var at [4]byte
	if _, err := program.ReadAt(at[:], offPE); err != nil {
		return layout{}, fmt.Errorf("reading its headers: %w", err)
	}
	start := int64(binary.LittleEndian.Uint32(at[:]))
	return layout{size: size, checksum: start + offChecksum, entry: start + offDirectory + security*dirEntrySize}, nil
}

// checkSections refuses programs whose sections don't follow each other in the
// file. The digest leaves out what is between sections, and readers disagree
// about it.
func checkSections(sections []*pe.Section, end, size int64) error {
	sorted := slices.Clone(sections)
	slices.SortStableFunc(sorted, func(a, b *pe.Section) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, s := range sorted {
		if s.Size == 0 {
			continue
		}
		if int64(s.Offset) != end {
			return fmt.Errorf("section %q begins at byte %d of the file and not at %d, where the one before it ends", s.Name, s.Offset, end)
		}
		end += int64(s.Size)
	}
	if end > size {
		return fmt.Errorf("its sections end at byte %d, behind its end at %d", end, size)
	}
	return nil
}

// digest returns the SHA-256 of the program without its checksum and the
// directory entry, and with the zeros that align the certificate table.
func (l layout) digest(in io.ReaderAt) ([]byte, error) {
	sum := sha256.New()
	for _, r := range [][2]int64{{0, l.checksum}, {l.checksum + 4, l.entry}, {l.entry + dirEntrySize, l.size}} {
		if err := copyRange(sum, in, r[0], r[1]); err != nil {
			return nil, fmt.Errorf("hashing it: %w", err)
		}
	}
	sum.Write(make([]byte, l.padded()-l.size))
	return sum.Sum(nil), nil
}
