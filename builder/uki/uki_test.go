package uki

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
)

const machineAMD64 = 0x8664

// program returns a PE32+ file with these sections, each one page in memory and
// 512 bytes in the file.
func program(machine uint16, sections ...string) []byte {
	const headerSize, optionalSize = 0x600, 240
	b := make([]byte, headerSize+512*len(sections))
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[60:], 64)
	p := b[64:]
	copy(p, "PE\x00\x00")
	le.PutUint16(p[offMachine:], machine)
	le.PutUint16(p[offSections:], uint16(len(sections)))
	le.PutUint32(p[8:], 0x5eed) // TimeDateStamp
	le.PutUint16(p[offOptionalSize:], optionalSize)
	le.PutUint16(p[offOptional:], magicPE32Plus)
	le.PutUint32(p[offInitialized:], 1000)
	le.PutUint32(p[offSectionAlign:], 4096)
	le.PutUint32(p[offFileAlign:], 512)
	le.PutUint32(p[offSizeOfImage:], uint32(4096*(1+len(sections))))
	le.PutUint32(p[offSizeOfHeaders:], headerSize)
	le.PutUint32(p[offChecksum:], 0xbad)
	le.PutUint16(p[offDLLFlags:], dllNXCompat|0x60)
	le.PutUint32(p[offDirectories:], 16)
	for i, name := range sections {
		s := p[offOptional+optionalSize+i*sectionHeaderSize:]
		copy(s[:8], name)
		le.PutUint32(s[8:], 100)
		le.PutUint32(s[12:], uint32(4096*(1+i)))
		le.PutUint32(s[16:], 512)
		le.PutUint32(s[20:], uint32(headerSize+512*i))
		copy(b[headerSize+512*i:], "contents of "+name)
	}
	return b
}

func stub() []byte { return program(machineAMD64, ".text", ".sbat") }

func blob(s string) Blob { return Blob{R: strings.NewReader(s), Size: int64(len(s))} }

func testInput() Input {
	return Input{
		Stub:      stub(),
		OSRelease: "ID=test\n",
		Cmdline:   "console=ttyS0 composefs=12",
		Uname:     "6.1-test",
		Kernel:    blob(string(program(machineAMD64, ".text")) + strings.Repeat("k", 5000)),
		Initramfs: blob(strings.Repeat("i", 777)),
	}
}

func build(t *testing.T, in Input) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(context.Background(), &b, in); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWrite reads the image with the standard library.
func TestWrite(t *testing.T) {
	data := build(t, testInput())
	f, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		".osrel": "ID=test\n", ".cmdline": "console=ttyS0 composefs=12", ".uname": "6.1-test",
		".linux": string(program(machineAMD64, ".text")) + strings.Repeat("k", 5000), ".initrd": strings.Repeat("i", 777),
	}
	var names []string
	var end uint32
	for _, s := range f.Sections {
		names = append(names, s.Name)
		if s.VirtualAddress%4096 != 0 || s.VirtualAddress < end || s.Offset%512 != 0 || s.Size%512 != 0 {
			t.Errorf("section %q at %d, in the file %d bytes at %d", s.Name, s.VirtualAddress, s.Size, s.Offset)
		}
		end = s.VirtualAddress + s.VirtualSize
		body, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		if w, added := want[s.Name]; added && (string(body[:s.VirtualSize]) != w || strings.Trim(string(body[s.VirtualSize:]), "\x00") != "") {
			t.Errorf("section %q holds %q", s.Name, body)
		}
	}
	if w := []string{".text", ".sbat", ".osrel", ".cmdline", ".uname", ".linux", ".initrd"}; !slices.Equal(names, w) {
		t.Errorf("sections %q, want %q", names, w)
	}
	h := f.OptionalHeader.(*pe.OptionalHeader64)
	if h.SizeOfImage != uint32(roundUp(int64(end), 4096)) || h.CheckSum != 0 || f.TimeDateStamp != 0x5eed {
		t.Errorf("SizeOfImage %d, CheckSum %d, TimeDateStamp %#x", h.SizeOfImage, h.CheckSum, f.TimeDateStamp)
	}
	added := len(want[".osrel"]) + len(want[".cmdline"]) + len(want[".uname"]) + len(want[".linux"]) + len(want[".initrd"])
	if h.SizeOfInitializedData != uint32(1000+added) || h.DllCharacteristics != dllNXCompat|0x60 {
		t.Errorf("SizeOfInitializedData %d, DllCharacteristics %#x", h.SizeOfInitializedData, h.DllCharacteristics)
	}
	if !bytes.Equal(data[0x600:0xa00], stub()[0x600:0xa00]) {
		t.Error("the stub's sections changed")
	}
	if !bytes.Equal(data, build(t, testInput())) {
		t.Error("two images of the same input differ")
	}
}

func TestWriteTakesTheKernelsNXFlag(t *testing.T) {
	kernel := program(machineAMD64, ".text")
	binary.LittleEndian.PutUint16(kernel[64+offDLLFlags:], 0)
	in := testInput()
	in.Kernel = blob(string(kernel))
	f, err := pe.NewFile(bytes.NewReader(build(t, in)))
	if err != nil {
		t.Fatal(err)
	}
	if flags := f.OptionalHeader.(*pe.OptionalHeader64).DllCharacteristics; flags != 0x60 {
		t.Errorf("DllCharacteristics %#x", flags)
	}
}

func TestWritePadsAnOldStub(t *testing.T) {
	in := testInput()
	in.Stub = append(in.Stub, "symbols"...)
	binary.LittleEndian.PutUint32(in.Stub[64+offSymbolTable:], uint32(len(in.Stub)-7))
	given := bytes.Clone(in.Stub)
	data := build(t, in)
	img, err := Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := img.Text(SectionCmdline); err != nil || text != in.Cmdline {
		t.Errorf("command line %q, %v", text, err)
	}
	if !bytes.Equal(given, in.Stub) {
		t.Error("the caller's stub was changed")
	}
}

func TestWriteLeavesOutEmptyParts(t *testing.T) {
	in := testInput()
	in.OSRelease, in.Initramfs = "", Blob{}
	data := build(t, in)
	img, err := Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{SectionOSRelease, SectionInitrd} {
		if _, err := img.Open(name); err == nil {
			t.Errorf("there is a section %q", name)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	put32 := func(at int, v uint32) func(*Input) {
		return func(in *Input) { binary.LittleEndian.PutUint32(in.Stub[64+at:], v) }
	}
	for _, c := range []struct {
		want   string
		change func(*Input)
	}{
		{"reading the boot stub: it is not an EFI program", func(in *Input) { in.Stub = nil }},
		{"behind the end of the file", func(in *Input) { in.Stub = in.Stub[:0x700] }},
		{"it has no sections", func(in *Input) { in.Stub = program(machineAMD64) }},
		{`it has a section ".linux" already`, func(in *Input) { in.Stub = program(machineAMD64, ".text", ".linux") }},
		{"it is signed", put32(offSecurity, 4096)},
		{"room for 0 more sections, and 5 are needed", put32(offSizeOfHeaders, 408)},
		{"alignment 3", put32(offFileAlign, 3)},
		{"cut off within its headers", put32(offSizeOfHeaders, 1<<20)},
		{"reading the kernel: it is not an EFI program", func(in *Input) { in.Kernel = blob("\x1f\x8bgzip") }},
		{"reading the kernel: it is not an EFI program", func(in *Input) { in.Kernel = Blob{R: strings.NewReader("")} }},
		{"machine type is 0xaa64, the boot stub's is 0x8664", func(in *Input) { in.Kernel = blob(string(program(0xaa64, ".text"))) }},
		{`section ".initrd": it has fewer than 778 bytes`, func(in *Input) { in.Initramfs.Size++ }},
		{`section ".initrd": it has more than 776 bytes`, func(in *Input) { in.Initramfs.Size-- }},
		{"limit is 4 GiB", func(in *Input) { in.Initramfs.Size = 1 << 32 }},
		{"limit is 4 GiB", func(in *Input) { in.Initramfs.Size = 1<<32 - 4096 }},
	} {
		in := testInput()
		c.change(&in)
		err := Write(context.Background(), io.Discard, in)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want it to say %q", err, c.want)
		}
		if short := strings.HasPrefix(c.want, "section"); !short && fault.ClassOf(err) != fault.Input {
			t.Errorf("%q: class %v", c.want, fault.ClassOf(err))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Write(ctx, io.Discard, testInput()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestRead(t *testing.T) {
	data := build(t, testInput())
	img, err := Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if img.Machine != machineAMD64 || len(img.Sections) != 7 {
		t.Errorf("machine %#x, %d sections", img.Machine, len(img.Sections))
	}
	for name, want := range map[string]string{SectionOSRelease: "ID=test\n", SectionCmdline: "console=ttyS0 composefs=12", SectionUname: "6.1-test"} {
		if got, err := img.Text(name); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := img.Text(".none"); err == nil {
		t.Error("a section that isn't there was read")
	}
	if _, err := Read(bytes.NewReader(data), int64(len(data))-1000); err == nil {
		t.Error("an image that is cut off was read")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(stub())
	f.Add(program(0xaa64, ".linux", ".initrd", ".cmdline"))
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for _, s := range img.Sections {
			if s.Size < 0 || s.Offset+s.Size > int64(len(data)) {
				t.Errorf("section %q: %d bytes at %d of %d", s.Name, s.Size, s.Offset, len(data))
			}
			if _, err := img.Text(s.Name); err != nil && s.Size <= maxText {
				t.Errorf("section %q: %v", s.Name, err)
			}
		}
	})
}

// FuzzStub writes an image around any stub; what is accepted must be readable.
func FuzzStub(f *testing.F) {
	f.Add(stub())
	f.Fuzz(func(t *testing.T, data []byte) {
		in := testInput()
		in.Stub = data
		var b bytes.Buffer
		if Write(context.Background(), &b, in) != nil {
			return
		}
		img, err := Read(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := img.Text(SectionCmdline); err != nil || text != in.Cmdline {
			t.Errorf("command line %q, %v", text, err)
		}
	})
}
