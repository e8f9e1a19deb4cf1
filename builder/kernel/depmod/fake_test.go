package depmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"
)

// fake is a module to make: entries of .modinfo, exported and needed symbols.
type fake struct {
	modinfo         []string
	exports, needed []string
}

// build returns the module as an ELF object: .modinfo, .symtab, .strtab and the
// sections' names, then the sections' table (gABI, chapter 4).
func (f fake) build(t testing.TB) []byte {
	t.Helper()
	var modinfo bytes.Buffer
	for _, e := range f.modinfo {
		modinfo.WriteString(e + "\x00")
	}
	text := bytes.NewBufferString("\x00")
	symbols := []elf.Sym64{{}}
	add := func(name string, section elf.SectionIndex) {
		symbols = append(symbols, elf.Sym64{Name: uint32(text.Len()), Info: byte(elf.STB_GLOBAL) << 4, Shndx: uint16(section)})
		text.WriteString(name + "\x00")
	}
	for _, s := range f.exports {
		add("__crc_"+s, elf.SHN_ABS)
		add(s, 1)
	}
	for _, s := range f.needed {
		add(s, elf.SHN_UNDEF)
	}
	var table bytes.Buffer
	if err := binary.Write(&table, binary.LittleEndian, symbols); err != nil {
		t.Fatal(err)
	}
	names := "\x00.modinfo\x00.symtab\x00.strtab\x00.shstrtab\x00"
	parts := []struct {
		name, kind, link, info, entry int
		data                          []byte
	}{
		{1, int(elf.SHT_PROGBITS), 0, 0, 0, modinfo.Bytes()},
		{10, int(elf.SHT_SYMTAB), 3, 1, symbolSize, table.Bytes()},
		{18, int(elf.SHT_STRTAB), 0, 0, 0, text.Bytes()},
		{26, int(elf.SHT_STRTAB), 0, 0, 0, []byte(names)},
	}
	at := uint64(64)
	sections := []elf.Section64{{}}
	var body bytes.Buffer
	for _, p := range parts {
		for (at+uint64(body.Len()))%8 != 0 {
			body.WriteByte(0)
		}
		sections = append(sections, elf.Section64{
			Name: uint32(p.name), Type: uint32(p.kind), Off: at + uint64(body.Len()), Size: uint64(len(p.data)),
			Link: uint32(p.link), Info: uint32(p.info), Entsize: uint64(p.entry), Addralign: 1,
		})
		body.Write(p.data)
	}
	for (at+uint64(body.Len()))%8 != 0 {
		body.WriteByte(0)
	}
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: at + uint64(body.Len()), Ehsize: 64, Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: 4,
	}
	var out bytes.Buffer
	for _, x := range []any{header, body.Bytes(), sections} {
		if err := binary.Write(&out, binary.LittleEndian, x); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// fakes are a small kernel's modules by path.
func fakes() map[string]fake {
	return map[string]fake{
		"kernel/drivers/disk.ko":        {[]string{"license=GPL", "alias=pci:v00001AF4d*sv*", "alias=char-major-10-203", "alias=devname:disk", "depends=core,bus-lib", "softdep=pre: late"}, []string{"disk_open"}, []string{"core_a", "bus_a"}},
		"kernel/drivers/core.ko":        {[]string{"depends=base", "alias=core-alias[a-z]-x"}, []string{"core_a", "core_b", "core"}, []string{"base_a"}},
		"kernel/lib/base.ko":            {[]string{"depends="}, []string{"base_a"}, nil},
		"kernel/lib/bus-lib.ko":         {[]string{"depends=base"}, []string{"bus_a"}, []string{"base_a"}},
		"kernel/drivers/late.ko":        {[]string{"depends=", "alias=pci:v00001AF4d*sv*", "weakdep=disk", "alias=block-major-8-1"}, nil, nil},
		"kernel/drivers/net/alone.ko":   {[]string{"depends=", "alias=pci:v00001AF*"}, nil, nil},
		"updates/extra.ko":              {[]string{"depends=", "alias=broken[bracket"}, nil, nil},
		"kernel/drivers/net/unknown.ko": {[]string{"depends=elsewhere"}, nil, nil},
	}
}

const (
	order          = "kernel/drivers/late.ko\nkernel/drivers/disk.ko\nkernel/drivers/core.ko\nkernel/lib/base.ko\nkernel/lib/bus-lib.ko\nkernel/drivers/net/alone.ko\nkernel/drivers/net/unknown.ko\n"
	builtin        = "kernel/fs/ext4.ko\nkernel/drivers/tty-serial.ko\n"
	builtinModinfo = "ext4.alias=fs-ext4\x00ext4.license=GPL\x00tty_serial.alias=tty-a\x00tty_serial.alias=tty-b\x00"
)
