package uki

import (
	"fmt"
	"io"
	"strings"
)

// maxText bounds the sections that Text returns, in bytes.
const maxText = 1 << 20

// Image is an EFI program whose sections can be read.
type Image struct {
	// Machine is the CPU architecture, as in the COFF header.
	Machine  uint16
	Sections []Section

	r io.ReaderAt
}

// Read reads the headers of an EFI program of size bytes: a unified kernel
// image or any other in the format PE32+.
func Read(r io.ReaderAt, size int64) (*Image, error) {
	head, err := readHead(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading an EFI program: %w", err)
	}
	h, err := parseHeaders(head, size)
	if err != nil {
		return nil, fmt.Errorf("reading an EFI program: %w", err)
	}
	return &Image{Machine: h.machine, Sections: h.sections, r: r}, nil
}

// Open returns the bytes of the first section of that name, without padding.
func (i *Image) Open(name string) (*io.SectionReader, error) {
	for _, s := range i.Sections {
		if s.Name == name {
			return io.NewSectionReader(i.r, s.Offset, s.Size), nil
		}
	}
	return nil, fmt.Errorf("opening section %q: the image has none of that name", name)
}

// Text returns a section that holds text: SectionCmdline, SectionOSRelease or
// SectionUname, for example. NUL bytes at its end are cut off. A section of
// more than 1 MiB is an error.
func (i *Image) Text(name string) (string, error) {
	r, err := i.Open(name)
	if err != nil {
		return "", err
	}
	if r.Size() > maxText {
		return "", fmt.Errorf("reading section %q: %d bytes are too many for text", name, r.Size())
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return "", fmt.Errorf("reading section %q: %w", name, err)
	}
	return strings.TrimRight(string(data), "\x00"), nil
}
