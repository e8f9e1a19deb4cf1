package inspect

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/familiestest"
	"github.com/powernode/bootsmith/families/internal/mbr"
)

func describeBytes(t *testing.T, data []byte) Report {
	t.Helper()
	r, err := describe(t.Context(), newSource(bytes.NewReader(data), 0, int64(len(data))), "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func archive(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeReg | 0o644, Size: int64(len(name))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestInitramfs lists several archives, with zeros between them, in several
// frames.
func TestInitramfs(t *testing.T) {
	var b bytes.Buffer
	for _, part := range [][]byte{append(archive(t, "init", "lib/a.ko"), make([]byte, 512)...), archive(t, "more")} {
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := describeBytes(t, b.Bytes())
	if got := outline(r, ""); got != "x: initramfs (cpio in zstd)\n  init: file\n  lib/a.ko: file\n  more: file\n" || r.Facts.Get("entries") != "3" || r.Facts.Get("unpacked size") != "16" {
		t.Errorf("%s%v", got, r.Facts)
	}
	damaged := b.Bytes()[:b.Len()-9]
	if _, err := describe(t.Context(), newSource(bytes.NewReader(damaged), 0, int64(len(damaged))), "x", 0); err == nil {
		t.Error("a cut stream is accepted")
	}
}

func TestComposefsImage(t *testing.T) {
	var b bytes.Buffer
	digest, err := composefs.WriteImage(&b, tree.New(5))
	if err != nil {
		t.Fatal(err)
	}
	if r := describeBytes(t, b.Bytes()); r.Kind != "composefs image" || r.Facts.Get("root digest") != hex.EncodeToString(digest[:]) {
		t.Errorf("%+v, want %x", r, digest)
	}
}

func TestKernel(t *testing.T) {
	kernel := append(familiestest.Program(arch.All()[0].PEMachine, ".text"), make([]byte, 4096)...)
	copy(kernel[514:], "HdrS")
	binary.LittleEndian.PutUint16(kernel[526:], 0x700-512)
	copy(kernel[0x700:], "6.12-test (builder) #1\x00")
	if r := describeBytes(t, kernel); r.Kind != "kernel" || r.Facts.Get("kernel version") != "6.12-test (builder) #1" || r.Facts.Get("machine") != "amd64" {
		t.Errorf("%+v", r)
	}
}

// TestMBR describes a disk with a partition table of the old kind and an ext4
// file system, of which nothing but the superblock is there.
func TestMBR(t *testing.T) {
	disk := make([]byte, 1<<20)
	table, err := mbr.New(int64(len(disk)), 1, []mbr.Partition{{Type: mbr.Linux, Start: 64, Sectors: 512}})
	if err != nil {
		t.Fatal(err)
	}
	copy(disk, table)
	super := disk[64*mbr.SectorSize+1024:]
	copy(super[56:], "\x53\xef")
	copy(super[120:], "persist")
	r := describeBytes(t, disk)
	if got := outline(r, ""); got != "x: disk with a master boot record\n  partition 1: ext4 file system\n" || r.Parts[0].Facts.Get("label") != "persist" || r.Parts[0].Facts.Get("type") != "0x83" {
		t.Errorf("%s%v", got, r.Parts)
	}
}

func TestRussianDolls(t *testing.T) {
	data := archive(t, "inner")
	for range maxNesting + 2 {
		var b bytes.Buffer
		w := cpio.NewWriter(&b)
		if err := w.WriteHeader(&cpio.Header{Name: "doll", Mode: cpio.TypeReg, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		data = b.Bytes()
	}
	_, err := describe(t.Context(), newSource(bytes.NewReader(data), 0, int64(len(data))), "x", 0)
	if err == nil || !strings.Contains(err.Error(), "within each other") {
		t.Errorf("%v", err)
	}
}
