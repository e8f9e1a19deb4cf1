package depmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/kernel"
)

// Reader reads modules, one after the other in the same memory. The zero value
// is ready to use. It is not safe for concurrent use.
type Reader struct{ decompressor kernel.Decompressor }

// Read reads a module, compressed as its path's ending says, from r.
func (d *Reader) Read(r io.Reader, name string) (Module, error) {
	data, err := d.decompressor.Decompress(r, path.Ext(name))
	if err != nil {
		return Module{}, fmt.Errorf("reading module %q: %w", name, err)
	}
	m, err := parse(data)
	if err != nil {
		return Module{}, fmt.Errorf("reading module %q: %w", name, err)
	}
	m.Path = name
	return m, nil
}

func parse(data []byte) (Module, error) {
	info, err := kernel.Info(data)
	if err != nil {
		return Module{}, err
	}
	m := Module{Aliases: info["alias"], Softdeps: info["softdep"], Weakdeps: info["weakdep"]}
	for _, list := range info["depends"] {
		for name := range strings.SplitSeq(list, ",") {
			if name != "" {
				m.Depends = append(m.Depends, name)
			}
		}
	}
	m.Symbols, err = exported(data)
	return m, err
}

// crcPrefix begins the symbols that hold the versions of exported ones
// (CONFIG_MODVERSIONS).
const crcPrefix = "__crc_"

// symbolSize is the size of Elf64_Sym in bytes; st_name is its first field.
const symbolSize = 24

// exported returns the names of exported symbols, from their version symbols.
func exported(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("class %v with %v is not supported", f.Class, f.Data)
	}
	table := f.SectionByType(elf.SHT_SYMTAB)
	if table == nil || int64(table.Link) >= int64(len(f.Sections)) {
		return nil, nil
	}
	symbols, err := sectionBytes(data, table)
	if err != nil {
		return nil, err
	}
	text, err := sectionBytes(data, f.Sections[table.Link])
	if err != nil {
		return nil, err
	}
	var names []string
	for ; len(symbols) >= symbolSize; symbols = symbols[symbolSize:] {
		at := uint64(binary.LittleEndian.Uint32(symbols))
		if at >= uint64(len(text)) || !bytes.HasPrefix(text[at:], []byte(crcPrefix)) {
			continue
		}
		name, _, _ := bytes.Cut(text[at+uint64(len(crcPrefix)):], []byte{0})
		names = append(names, string(name))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// sectionBytes returns a section as it lies in the file.
func sectionBytes(data []byte, s *elf.Section) ([]byte, error) {
	if s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 || s.Offset > uint64(len(data)) || s.FileSize > uint64(len(data))-s.Offset {
		return nil, fmt.Errorf("section %s: %d bytes at %d don't fit", s.Name, s.FileSize, s.Offset)
	}
	return data[s.Offset : s.Offset+s.FileSize], nil
}
