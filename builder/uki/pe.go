package uki

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Sizes and offsets of the headers, in bytes, as in Microsoft's "PE Format":
// a DOS header, whose last field says where the signature is, then the COFF
// header, the optional header (here always PE32+) and the section table.
const (
	dosHeaderSize     = 64
	coffHeaderSize    = 4 + 20 // with the signature
	minOptionalSize   = 112    // PE32+ without data directories
	sectionHeaderSize = 40
	magicPE32Plus     = 0x20b

	// From the start of the signature.
	offMachine       = 4
	offSections      = 6
	offSymbolTable   = 12
	offSymbolCount   = 16
	offOptionalSize  = 20
	offOptional      = 24
	offInitialized   = offOptional + 8
	offSectionAlign  = offOptional + 32
	offFileAlign     = offOptional + 36
	offSizeOfImage   = offOptional + 56
	offSizeOfHeaders = offOptional + 60
	offChecksum      = offOptional + 64
	offDLLFlags      = offOptional + 70
	offDirectories   = offOptional + 108 // NumberOfRvaAndSizes
	offSecurity      = offOptional + 112 + 4*8

	// maxHeaders bounds what is read to find the sections.
	maxHeaders = 64 << 10
	// maxSections is the limit of the Windows loader, which others share.
	maxSections = 96

	dllNXCompat = 0x100 // IMAGE_DLLCHARACTERISTICS_NX_COMPAT
)

// Section is a part of an image.
type Section struct {
	Name string
	// Size is the number of its bytes, without padding.
	Size int64
	// Offset is where they are in the file; Address is where the firmware loads
	// them, relative to the image's start.
	Offset, Address int64

	rawSize     int64 // bytes in the file, with padding
	virtualSize int64 // bytes in memory
}

// headers are an image's headers, as far as a boot stub needs them.
type headers struct {
	pe           int // offset of the signature
	table        int // offset of the section table
	machine      uint16
	sectionAlign int64
	fileAlign    int64
	size         int64 // SizeOfHeaders
	sections     []Section
}

var errNotPE = errors.New("it is not an EFI program (PE32+)")

// parseHeaders reads the headers of an image of which head holds the first
// bytes, and whose length is fileSize.
func parseHeaders(head []byte, fileSize int64) (headers, error) {
	le := binary.LittleEndian
	if len(head) < dosHeaderSize || head[0] != 'M' || head[1] != 'Z' {
		return headers{}, errNotPE
	}
	pe := int64(le.Uint32(head[60:]))
	if pe+coffHeaderSize+minOptionalSize > int64(len(head)) {
		return headers{}, errNotPE
	}
	p := head[pe:]
	if string(p[:4]) != "PE\x00\x00" || le.Uint16(p[offOptional:]) != magicPE32Plus {
		return headers{}, errNotPE
	}
	h := headers{
		pe:           int(pe),
		table:        int(pe) + offOptional + int(le.Uint16(p[offOptionalSize:])),
		machine:      le.Uint16(p[offMachine:]),
		sectionAlign: int64(le.Uint32(p[offSectionAlign:])),
		fileAlign:    int64(le.Uint32(p[offFileAlign:])),
		size:         int64(le.Uint32(p[offSizeOfHeaders:])),
	}
	if int(le.Uint16(p[offOptionalSize:])) < minOptionalSize {
		return headers{}, fmt.Errorf("the optional header has only %d bytes", le.Uint16(p[offOptionalSize:]))
	}
	count := int(le.Uint16(p[offSections:]))
	if count > maxSections || h.table+count*sectionHeaderSize > len(head) {
		return headers{}, fmt.Errorf("the table of %d sections is too long", count)
	}
	for i := range count {
		s, err := parseSection(head[h.table+i*sectionHeaderSize:], fileSize)
		if err != nil {
			return headers{}, err
		}
		h.sections = append(h.sections, s)
	}
	return h, nil
}

// parseSection reads an IMAGE_SECTION_HEADER: name, 8 bytes; VirtualSize,
// VirtualAddress, SizeOfRawData and PointerToRawData, 4 bytes each; then fields
// of object files and, in the last 4 of 40 bytes, characteristics.
func parseSection(b []byte, fileSize int64) (Section, error) {
	le := binary.LittleEndian
	name, _, _ := strings.Cut(string(b[:8]), "\x00")
	virtual, raw := int64(le.Uint32(b[8:])), int64(le.Uint32(b[16:]))
	s := Section{
		Name:    name,
		Size:    min(virtual, raw),
		Address: int64(le.Uint32(b[12:])),
		Offset:  int64(le.Uint32(b[20:])),
		rawSize: raw,

		virtualSize: virtual,
	}
	if raw == 0 { // zeros made by the loader
		s.Offset = 0
	}
	if s.Offset+raw > fileSize {
		return Section{}, fmt.Errorf("section %q ends at %d, behind the end of the file at %d", name, s.Offset+raw, fileSize)
	}
	return s, nil
}

func (h headers) find(name string) (Section, bool) {
	for _, s := range h.sections {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

// readHead reads what may hold headers from the start of an image.
func readHead(r io.ReaderAt, size int64) ([]byte, error) {
	head := make([]byte, min(size, maxHeaders))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("reading the headers: %w", err)
	}
	return head, nil
}
