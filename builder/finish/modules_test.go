package finish

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// module returns a kernel module with a .modinfo section and nothing else.
func module(t *testing.T, modinfo string) string {
	t.Helper()
	names := "\x00.modinfo\x00.shstrtab\x00"
	namesAt := uint64(64 + len(modinfo))
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: namesAt + uint64(len(names)), Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	}
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64, Size: uint64(len(modinfo))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))},
	}
	var b bytes.Buffer
	for _, part := range []any{header, []byte(modinfo), []byte(names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func kernelFiles(t *testing.T) files {
	return files{
		"usr/lib/modules/6.1/kernel/a.ko":           module(t, "depends=b\x00alias=x:*\x00"),
		"usr/lib/modules/6.1/kernel/b.ko":           module(t, "depends=\x00"),
		"usr/lib/modules/6.1/modules.order":         "kernel/b.ko\nkernel/a.ko\n",
		"usr/lib/modules/6.1/build":                 "->/usr/src/linux",
		"usr/lib/modules/5.9/modules.builtin":       "kernel/c.ko\n", // no modules
		"boot/vmlinuz-6.1":                          "MZ",
		"boot/System.map-6.1":                       "map",
		"boot/config-6.1":                           "CONFIG",
		"boot/vmlinuz-4.0":                          "MZ",
		"usr/lib/modules/done/kernel/x.ko":          "not read",
		"usr/lib/modules/done/modules.dep.bin":      "mine",
		"usr/lib/modules/6.1/kernel/notes.ko.debug": "not read",
	}
}

func TestModules(t *testing.T) {
	in, cache, computed := input(t), map[string][]byte{}, 0
	in.Remember = func(key string, compute func() ([]byte, error)) ([]byte, error) {
		if data, ok := cache[key]; ok {
			return data, nil
		}
		computed++
		data, err := compute()
		cache[key] = data
		return data, err
	}
	for range 2 {
		r := newTree(t, kernelFiles(t))
		if err := indexModules(t.Context(), r, in); err != nil {
			t.Fatal(err)
		}
		expect(t, r, files{
			"usr/lib/modules/6.1/modules.dep":      "kernel/b.ko:\nkernel/a.ko: kernel/b.ko\n",
			"usr/lib/modules/6.1/modules.alias":    "# Aliases extracted from modules themselves.\nalias x:* a\n",
			"usr/lib/modules/done/modules.dep.bin": "mine",
			"boot/vmlinuz-6.1":                     "", "boot/System.map-6.1": "", "boot/config-6.1": "CONFIG", "boot/vmlinuz-4.0": "MZ",
		})
		if r.named("usr/lib/modules/5.9/modules.dep") {
			t.Error("a kernel without modules got an index")
		}
	}
	if computed != 1 {
		t.Errorf("the index was computed %d times", computed)
	}
	f := kernelFiles(t)
	f["usr/lib/modules/6.1/kernel/b.ko"] = module(t, "depends=\x00alias=y\x00")
	if err := indexModules(t.Context(), newTree(t, f), in); err != nil || computed != 2 {
		t.Errorf("after a change: computed %d times, %v", computed, err)
	}
}

// The image of a kernel that boots from the root stays where it is.
func TestKeepKernels(t *testing.T) {
	r, in := newTree(t, kernelFiles(t)), input(t)
	in.KeepKernels = true
	if err := indexModules(t.Context(), r, in); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{"boot/vmlinuz-6.1": "MZ", "boot/System.map-6.1": "map"})
	if !r.named("usr/lib/modules/6.1/modules.dep") {
		t.Error("its modules have no index")
	}
}

func TestDamagedModule(t *testing.T) {
	f := kernelFiles(t)
	f["usr/lib/modules/6.1/kernel/a.ko"] = "text"
	err := indexModules(t.Context(), newTree(t, f), input(t))
	if err == nil || !strings.Contains(err.Error(), "kernel/a.ko") {
		t.Errorf("got %v", err)
	}
	in := input(t)
	in.Remember = func(string, func() ([]byte, error)) ([]byte, error) { return nil, errors.New("full") }
	if err := indexModules(t.Context(), newTree(t, kernelFiles(t)), in); err == nil {
		t.Error("no error")
	}
}
