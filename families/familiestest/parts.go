// Package familiestest makes the parts of a small build for tests: a root with its
// image, a kernel, an initramfs and the program that firmware starts. They fit
// together as real ones do and boot nothing.
package familiestest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/builder/uki"
)

// Parts are the parts of a build. Kernel, Initramfs, UKI and RootImage are paths.
type Parts struct {
	Kernel, Initramfs, UKI, RootImage string

	Tree    *tree.Tree
	Store   *store.Store
	Root    composefs.RootImage
	Cmdline string
}

// New makes the parts for a root whose files are given by path; a file is
// executable when it begins with "#!".
func New(t testing.TB, a arch.Arch, epoch time.Time, files map[string]string) Parts {
	t.Helper()
	dir := t.TempDir()
	contents, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	p := Parts{Tree: tree.New(epoch.Unix()), Store: contents}
	for name, data := range files {
		c, size, err := contents.Put(strings.NewReader(data))
		mode := uint32(tree.TypeRegular | 0o644)
		if strings.HasPrefix(data, "#!") {
			mode |= 0o111
		}
		if err == nil {
			err = p.Tree.Put(name, &tree.Inode{Mode: mode, Mtime: epoch.Unix(), Size: size, Content: c})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var image bytes.Buffer
	if p.Root, err = composefs.WriteRootImage(t.Context(), &image, p.Tree, contents, epoch, [16]byte{1}); err != nil {
		t.Fatal(err)
	}
	p.Cmdline = fmt.Sprintf("console=%s composefs=%x bootsmith.roothash=%x bootsmith.rootblocks=%d", a.Console, p.Root.Digest, p.Root.RootHash, p.Root.DataBlocks)
	p.RootImage = save(t, dir, "root.img", image.Bytes())
	kernel := append(Program(a.PEMachine, ".text"), bytes.Repeat([]byte("kernel"), 5000)...)
	initramfs := bytes.Repeat([]byte("initramfs"), 3000)
	p.Kernel, p.Initramfs = save(t, dir, "vmlinuz", kernel), save(t, dir, "initramfs.cpio.zst", initramfs)
	p.UKI = save(t, dir, "uki.efi", unified(t, a, kernel, initramfs, p.Cmdline))
	return p
}

func save(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func unified(t testing.TB, a arch.Arch, kernel, initramfs []byte, cmdline string) []byte {
	t.Helper()
	var out bytes.Buffer
	err := uki.Write(t.Context(), &out, uki.Input{
		Stub:      Program(a.PEMachine, ".text", ".sbat"),
		OSRelease: "ID=test\nVERSION_ID=1\n", Cmdline: cmdline, Uname: "6.12-test",
		Kernel:    uki.Blob{R: bytes.NewReader(kernel), Size: int64(len(kernel))},
		Initramfs: uki.Blob{R: bytes.NewReader(initramfs), Size: int64(len(initramfs))},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Program returns a file in the format PE32+ with these sections, each a page in
// memory and 512 bytes in the file ("PE Format" of Microsoft):
//
//	0   "MZ"          60  4  offset of the signature, 64
//	64  "PE\0\0"      68  2  machine       70  2  number of sections
//	84  2  size of the optional header, 240
//	88  the optional header; behind it 40 bytes for each section
func Program(machine uint16, sections ...string) []byte {
	const headers, optional = 0x600, 240
	b := make([]byte, headers+512*len(sections))
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[60:], 64)
	p := b[64:]
	copy(p, "PE\x00\x00")
	le.PutUint16(p[4:], machine)
	le.PutUint16(p[6:], uint16(len(sections)))
	le.PutUint16(p[20:], optional)
	le.PutUint16(p[24:], 0x20b)                             // PE32+
	le.PutUint32(p[24+32:], 4096)                           // alignment in memory
	le.PutUint32(p[24+36:], 512)                            // and in the file
	le.PutUint32(p[24+56:], uint32(4096*(1+len(sections)))) // size in memory
	le.PutUint32(p[24+60:], headers)
	le.PutUint16(p[24+70:], 0x160) // the stub may be where it can't be written
	le.PutUint32(p[24+108:], 16)   // data directories
	for i, name := range sections {
		s := p[24+optional+i*40:]
		copy(s[:8], name)
		le.PutUint32(s[8:], 100)
		le.PutUint32(s[12:], uint32(4096*(1+i)))
		le.PutUint32(s[16:], 512)
		le.PutUint32(s[20:], uint32(headers+512*i))
	}
	return b
}
