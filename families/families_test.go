package families

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

var update = flag.Bool("update", false, "write the golden files")

// writeBlob writes size bytes that differ per name, half of which compress.
func writeBlob(t testing.TB, dir, name string, size int) Blob {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	data := make([]byte, size)
	if _, err := io.ReadFull(rand.NewChaCha8(seed), data[:size/2]); err != nil {
		t.Fatal(err)
	}
	for i := size / 2; i < size; i++ {
		data[i] = name[i%len(name)]
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return Blob{Path: path, Size: int64(size), SHA256: hex.EncodeToString(sum[:])}
}

// testInput is a small build; the parts are not bootable, which no family
// looks at.
func testInput(t testing.TB, archName string) Input {
	t.Helper()
	a, err := arch.Lookup(archName)
	if err != nil {
		t.Fatal(err)
	}
	parts := t.TempDir()
	epoch := time.Date(2026, 11, 22, 10, 20, 30, 0, time.UTC)
	root, contents := testTree(t, epoch)
	return Input{
		Platform: "minimal", Arch: a, KernelVersion: "6.12.107+deb13-cloud",
		Kernel:    writeBlob(t, parts, "vmlinuz", 300_001),
		Initramfs: writeBlob(t, parts, "initramfs.cpio.zst", 200_003),
		RootImage: writeBlob(t, parts, "root.img", 3<<20+4096),
		UKI:       writeBlob(t, parts, "uki.efi", 600_000),
		Tree:      root, Store: contents,
		Cmdline:    "console=" + a.Console + " composefs=" + strings.Repeat("c", 64) + " bootsmith.roothash=" + strings.Repeat("d", 64) + " bootsmith.rootblocks=769",
		RootDigest: strings.Repeat("c", 64), RootHash: strings.Repeat("d", 64),
		ESP: []ESPFile{
			{Path: "identity.cfg", Blob: writeBlob(t, parts, "identity.cfg", 700)},
			{Path: "certs/authority of this site.pem", Blob: writeBlob(t, parts, "ca.pem", 2000)},
		},
		Revision: strings.Repeat("e", 40),
		Epoch:    epoch,
		ID:       testID,
		Scratch:  t.TempDir(),
	}
}

// testTree is a root of one program, one link to it and one small file.
func testTree(t testing.TB, epoch time.Time) (*tree.Tree, *store.Store) {
	t.Helper()
	contents, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := tree.New(epoch.Unix())
	put := func(name string, mode uint32, data string) {
		c, size, err := contents.Put(strings.NewReader(data))
		if err == nil {
			err = root.Put(name, &tree.Inode{Mode: tree.TypeRegular | mode, Mtime: epoch.Unix(), Size: size, Content: c})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("usr/bin/program", 0o755, strings.Repeat("#!program\n", 1000))
	put("etc/hostname", 0o644, "minimal\n")
	if err := root.Put("usr/bin/link", &tree.Inode{Mode: tree.TypeSymlink | 0o777, Mtime: epoch.Unix(), Target: "program"}); err != nil {
		t.Fatal(err)
	}
	return root, contents
}

func testID(purpose string) [16]byte {
	sum := sha256.Sum256([]byte(purpose))
	id := [16]byte(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// build runs a family and returns its sink and folder.
func build(t testing.TB, f Family, in Input) (*Sink, string) {
	t.Helper()
	dir := t.TempDir()
	sink := NewSink(dir)
	if err := f.Build(t.Context(), in, sink); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	return sink, dir
}

func readFile(t testing.TB, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAll(t *testing.T) {
	order := []string{"kernel-initrd", "raw", "iso", "ipxe", "qcow2", "oci", "disk-image-rpi4"}
	at := -1
	for _, name := range Names() {
		i := slices.Index(order, name)
		if i <= at {
			t.Errorf("%q is unknown or not in its place", name)
		}
		at = i
		f, err := Lookup(name)
		if err != nil || f.Name() != name {
			t.Errorf("Lookup(%q) = %v, %v", name, f, err)
		}
	}
	if _, err := Lookup("floppy"); err == nil || !strings.Contains(err.Error(), "known are kernel-initrd, raw") {
		t.Errorf("Lookup of an unknown family: %v", err)
	}
}

// TestEveryFamily holds what is true of each: the main file is there, digests
// and sizes are those of the files, two builds are equal, nothing is left over
// and a cancelled build stops.
func TestEveryFamily(t *testing.T) {
	for _, f := range All() {
		t.Run(f.Name(), func(t *testing.T) {
			in := inputFor(t, f)
			one, dir := build(t, f, in)
			two, _ := build(t, f, in)
			if !slices.Equal(one.Artifacts(), two.Artifacts()) {
				t.Errorf("two builds differ:\n%v\n%v", one.Artifacts(), two.Artifacts())
			}
			if _, err := one.Main(); err != nil {
				t.Error(err)
			}
			checkArtifacts(t, one, dir)
			if left, _ := os.ReadDir(in.Scratch); len(left) > 0 {
				t.Errorf("left in the scratch folder: %v", left)
			}
			checkCancelled(t, f, in)
		})
	}
}

// inputFor is a build for an architecture that the family exists for.
func inputFor(t testing.TB, f Family) Input {
	t.Helper()
	for _, a := range arch.All() {
		if _, limited := f.(Limited); limited && Supports(f, a) {
			return rpi4Input(t, a.Name)
		}
	}
	return testInput(t, "amd64")
}

func checkArtifacts(t *testing.T, sink *Sink, dir string) {
	t.Helper()
	var names []string
	for _, a := range sink.Artifacts() {
		data := readFile(t, dir, a.Name)
		sum := sha256.Sum256(data)
		if a.Size != int64(len(data)) || a.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: recorded as %+v", a.Name, a)
		}
		if !strings.HasPrefix(a.MediaType, "application/") {
			t.Errorf("%s: media type %q", a.Name, a.MediaType)
		}
		names = append(names, a.Name)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if !slices.Contains(names, filepath.ToSlash(name)) {
			t.Errorf("%s is in the folder but was not committed", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkCancelled(t *testing.T, f Family, in Input) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	sink := NewSink(dir)
	err := f.Build(ctx, in, sink)
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
	if f.Name() == "ipxe" {
		return // one small file, written before anyone could notice
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled build: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".part-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// throwaway is a seventh family, which takes a type and a line.
type throwaway struct{}

func (throwaway) Name() string { return "throwaway" }

func (throwaway) Build(_ context.Context, in Input, out *Sink) error {
	out.SetMain("note")
	return out.write("note", "application/vnd.powernode.note", func(f *File) error {
		_, err := fmt.Fprintln(f, in.Platform)
		return err
	})
}

func TestSeventhFamily(t *testing.T) {
	sink, dir := build(t, throwaway{}, testInput(t, "arm64"))
	if main, err := sink.Main(); err != nil || main.Name != "note" {
		t.Errorf("%+v, %v", main, err)
	}
	if got := readFile(t, dir, "note"); !bytes.Equal(got, []byte("minimal\n")) {
		t.Errorf("%q", got)
	}
}

func wantFault(t *testing.T, err error, class fault.Class, text string) {
	t.Helper()
	if fault.ClassOf(err) != class || err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%v (class %v), want class %v and %q", err, fault.ClassOf(err), class, text)
	}
}
