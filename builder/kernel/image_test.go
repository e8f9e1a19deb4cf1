package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/tree"
)

// imageOf returns the beginning of a kernel image: an EFI program for a machine
// (0: none), with the magic of x86 or arm64.
func imageOf(machine uint16, magic, release string) []byte {
	b := make([]byte, 0x1000)
	if machine != 0 {
		copy(b, "MZ")
		b[0x3c] = 0x80
		copy(b[0x80:], "PE\x00\x00")
		binary.LittleEndian.PutUint16(b[0x84:], machine)
	}
	switch magic {
	case "HdrS":
		copy(b[0x202:], magic)
		if release != "" {
			binary.LittleEndian.PutUint16(b[0x20e:], 0x400)
			copy(b[0x600:], release+" (someone@example.org) #1 SMP\x00")
		}
	case "ARM\x64":
		copy(b[56:], magic)
	}
	return b
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadImage(t *testing.T) {
	amd64, arm64 := arch.All()[0], arch.All()[1]
	bzImage, image := imageOf(amd64.PEMachine, "HdrS", "6.1.0-test"), imageOf(arm64.PEMachine, "ARM\x64", "")
	zboot := imageOf(arm64.PEMachine, "", "")
	copy(zboot[4:], "zimg")
	for name, x := range map[string]struct {
		arch          arch.Arch
		data, want    []byte
		release, said string
	}{
		"bzImage":                {amd64, bzImage, bzImage, "6.1.0-test", ""},
		"bzImage, no release":    {amd64, imageOf(amd64.PEMachine, "HdrS", ""), imageOf(amd64.PEMachine, "HdrS", ""), "", ""},
		"Image":                  {arm64, image, image, "", ""},
		"Image in gzip":          {arm64, gzipped(t, image), image, "", ""},
		"zboot":                  {arm64, zboot, zboot, "", ""},
		"another CPU":            {amd64, image, nil, "", "it is for arm64, not for amd64; name a kernel for amd64"},
		"another CPU in gzip":    {amd64, gzipped(t, image), nil, "", "it is for arm64, not for amd64"},
		"another CPU, x86":       {arm64, bzImage, nil, "", "it is for amd64, not for arm64"},
		"32 bits":                {amd64, imageOf(0x14c, "HdrS", ""), nil, "", "it is for another CPU (PE machine 0x014c), not for amd64"},
		"no stub":                {amd64, imageOf(0, "HdrS", ""), nil, "", "it is no EFI program; build the kernel with CONFIG_EFI_STUB"},
		"no stub, arm64":         {arm64, imageOf(0, "ARM\x64", ""), nil, "", "it is no EFI program"},
		"vmlinux":                {amd64, []byte("\x7fELF\x02\x01\x01"), nil, "", "it is an ELF file, not what boots; name the image"},
		"U-Boot":                 {arm64, []byte{0x27, 0x05, 0x19, 0x56, 1}, nil, "", "it is a U-Boot image"},
		"text":                   {arm64, []byte("version https://example.org/pointer\n"), nil, "", "it is no kernel image; name a bzImage"},
		"empty":                  {amd64, nil, nil, "", "it is no kernel image"},
		"cut":                    {amd64, bzImage[:0x60], nil, "", "it is no kernel image"},
		"cut gzip":               {arm64, gzipped(t, image)[:20], nil, "", "unexpected EOF"},
		"release leads nowhere":  {amd64, wrongRelease(amd64, 0xffff), wrongRelease(amd64, 0xffff), "", ""},
		"release without an end": {amd64, wrongRelease(amd64, 0x0dff), wrongRelease(amd64, 0x0dff), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, release, err := ReadImage(bytes.NewReader(x.data), x.arch)
			if x.said != "" {
				if err == nil || !strings.Contains(err.Error(), x.said) {
					t.Errorf("got %v, want %q", err, x.said)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, x.want) || release != x.release {
				t.Errorf("%d bytes of release %q, %v", len(got), release, err)
			}
		})
	}
}

// wrongRelease is an image whose pointer to the release leads to x's.
func wrongRelease(a arch.Arch, pointer uint16) []byte {
	b := imageOf(a.PEMachine, "HdrS", "")
	binary.LittleEndian.PutUint16(b[0x20e:], pointer)
	for i := 0xf00; i < len(b); i++ {
		b[i] = 'x'
	}
	return b
}

func TestOpenImage(t *testing.T) {
	amd64 := arch.All()[0]
	root, store := tree.New(0), newContents()
	store.put(t, root, "boot/vmlinuz-6.1", imageOf(amd64.PEMachine, "HdrS", "6.2"))
	k, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.OpenImage(store, amd64)
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), `"boot/vmlinuz-6.1": its header says release "6.2", its place says "6.1"`) {
		t.Errorf("got %v", err)
	}
	k.Version = "6.2"
	r, err := k.OpenImage(store, amd64)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || len(data) != 0x1000 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// A small image in gzip can't fill memory or disk.
func TestImageBomb(t *testing.T) {
	left := &bounded{zeros{}, 1 << 20}
	if n, err := io.Copy(io.Discard, left); err != errImageSize || n > 1<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func FuzzReadImage(f *testing.F) {
	f.Add(imageOf(0x8664, "HdrS", "6.1"))
	f.Add(gzipped(f, imageOf(0xaa64, "ARM\x64", "")))
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, a := range arch.All() {
			r, release, err := ReadImage(bytes.NewReader(data), a)
			if err != nil {
				continue
			}
			if len(release) > maxRelease || strings.ContainsAny(release, " \x00") {
				t.Errorf("release %q", release)
			}
			_, _ = io.Copy(io.Discard, r) // a damaged end is an error, not a panic
		}
	})
}

func FuzzDecompress(f *testing.F) {
	module := fakeModule(f, "depends=")
	f.Add(".xz", packXZ(f, module))
	f.Add(".zst", packZstd(f, module))
	f.Add(".gz", gzipped(f, module))
	f.Fuzz(func(t *testing.T, ext string, data []byte) {
		module, err := new(Decompressor).Decompress(bytes.NewReader(data), ext)
		if err == nil {
			_, _ = Info(module) // an error, not a panic
		}
	})
}

func TestModulesInEveryCompression(t *testing.T) {
	module := fakeModule(t, "depends=a", "vermagic="+version)
	for ext, data := range map[string][]byte{"": module, ".xz": packXZ(t, module), ".zst": packZstd(t, module), ".gz": gzipped(t, module)} {
		root, store := tree.New(0), newContents()
		store.put(t, root, "boot/vmlinuz-"+version, []byte("kernel"))
		store.put(t, root, "lib/modules/"+version+"/kernel/b.ko"+ext, data)
		store.put(t, root, "lib/modules/"+version+"/modules.builtin", []byte("kernel/a.ko\n"))
		k, err := Find(root)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Modules(t.Context(), store, Wanted{Required: []string{"b"}})
		if err != nil || len(got) != 1 || got[0].Name != "b" {
			t.Errorf("%q: %+v, %v", ext, got, err)
		}
	}
}
