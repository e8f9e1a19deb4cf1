package finish

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"
)

// library returns a shared library with nothing but a SONAME, "" for none.
func library(t *testing.T, machine elf.Machine, soname string) string {
	t.Helper()
	text := "\x00" + soname + "\x00"
	dynamic := []elf.Dyn64{{Tag: int64(elf.DT_SONAME), Val: 1}, {}}
	if soname == "" {
		dynamic = dynamic[1:]
	}
	names := "\x00.dynstr\x00.dynamic\x00.shstrtab\x00"
	at := uint64(64)
	textAt, dynAt := at, at+uint64(len(text))
	namesAt := dynAt + uint64(16*len(dynamic))
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_DYN), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Shoff: namesAt + uint64(len(names)), Ehsize: 64, Shentsize: 64, Shnum: 4, Shstrndx: 3,
	}
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_STRTAB), Off: textAt, Size: uint64(len(text))},
		{Name: 9, Type: uint32(elf.SHT_DYNAMIC), Off: dynAt, Size: uint64(16 * len(dynamic)), Link: 1, Entsize: 16},
		{Name: 18, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))},
	}
	var b bytes.Buffer
	for _, part := range []any{header, []byte(text), dynamic, []byte(names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestLibraryCache(t *testing.T) {
	x86 := func(soname string) string { return library(t, elf.EM_X86_64, soname) }
	r := newTree(t, files{
		"etc/ld.so.conf":                        "include /etc/ld.so.conf.d/*.conf\n# comment\n",
		"etc/ld.so.conf.d/multi.conf":           "/lib/x86_64-linux-gnu # comment\n/usr/lib/x86_64-linux-gnu\n/nowhere\n",
		"etc/ld.so.conf.d/ignored.txt":          "/opt\n",
		"lib":                                   "->usr/lib",
		"opt/libopt.so.1":                       x86("libopt.so.1"),
		"usr/lib/x86_64-linux-gnu/dir/":         "",
		"usr/lib/x86_64-linux-gnu/liba.so.1.2":  x86("liba.so.1"),
		"usr/lib/x86_64-linux-gnu/liba.so.1":    "->liba.so.1.2",
		"usr/lib/x86_64-linux-gnu/libb.so.1.0":  x86("libb.so.1"), // its link is missing
		"usr/lib/x86_64-linux-gnu/libplain.so":  x86(""),
		"usr/lib/x86_64-linux-gnu/libarm.so.1":  library(t, elf.EM_AARCH64, "libarm.so.1"),
		"usr/lib/x86_64-linux-gnu/libc.so":      "/* GNU ld script */ " + strings.Repeat("x", 100),
		"usr/lib/x86_64-linux-gnu/libcut.so":    x86("libcut.so")[:80],
		"usr/lib/x86_64-linux-gnu/libgone.so.1": "->nowhere",
		"usr/lib/x86_64-linux-gnu/plugin.so":    x86("plugin.so"),
		"usr/lib/liba.so.1":                     x86("liba.so.1"), // comes second
		"usr/lib/libu.so.5":                     x86("libu.so.5"),
	})
	if err := makeLibraryCache(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	cache := text(t, r, "etc/ld.so.cache")
	_, names, _ := strings.Cut(cache[48+24*3:], "")
	want := "/lib/libu.so.5\x00/lib/x86_64-linux-gnu/libplain.so\x00/lib/x86_64-linux-gnu/liba.so.1\x00"
	if names != want || binary.LittleEndian.Uint32([]byte(cache[48:])) != 0x0303 {
		t.Errorf("the cache holds %q, want %q", names, want)
	}
}

func TestLibraryDirsThatIncludeEachOther(t *testing.T) {
	r := newTree(t, files{"etc/ld.so.conf": "include ld.so.conf\n"})
	if err := makeLibraryCache(t.Context(), r, input(t)); err == nil {
		t.Error("no error")
	}
}
