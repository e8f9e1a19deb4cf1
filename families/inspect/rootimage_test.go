package inspect

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/families/internal/mbr"
)

// openOnly opens the root of a folder that has only one family.
func openOnly(t *testing.T, dir, family string) (*Root, error) {
	t.Helper()
	only := t.TempDir()
	if err := os.Rename(filepath.Join(dir, family), filepath.Join(only, family)); err != nil {
		t.Fatal(err)
	}
	return OpenRoot(t.Context(), only, arch.All()[0], func(path string) bool { return path == "sbin/init" })
}

func wantRoot(t *testing.T, root *Root, from string) {
	t.Helper()
	if root.From != from {
		t.Errorf("the root is from %q, want %q", root.From, from)
	}
	n, err := root.Tree.Resolve("sbin/init")
	if err != nil {
		t.Fatalf("%s: %v", from, err)
	}
	r, err := root.Open(n.Inode.Content)
	if err != nil {
		t.Fatalf("%s: %v", from, err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "#!init"+strings.Repeat("\n", 9000) {
		t.Errorf("%s: /sbin/init holds %.20q, %v", from, data, err)
	}
	if err := root.Close(); err != nil {
		t.Error(err)
	}
}

// Every family that holds a root tells its files.
func TestOpenRoot(t *testing.T) {
	b := build(t)
	image, err := os.ReadFile(filepath.Join(b.dir, "kernel-initrd/root.img"))
	if err != nil {
		t.Fatal(err)
	}
	for family, from := range map[string]string{
		"kernel-initrd": "kernel-initrd/root.img", "raw": "raw/minimal-amd64.img", "iso": "iso/minimal-amd64.iso",
		"qcow2": "qcow2/minimal-amd64.qcow2", "oci": "oci",
	} {
		root, err := openOnly(t, b.dir, family)
		if err != nil {
			t.Errorf("%s: %v", family, err)
			continue
		}
		wantRoot(t, root, from)
	}
	card := writeCard(t, image)
	root, err := openOnly(t, card, "disk-image-rpi4")
	if err != nil {
		t.Fatal(err)
	}
	wantRoot(t, root, "disk-image-rpi4/card.img")
	if _, err := openOnly(t, b.dir, "ipxe"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a root: %v", err)
	}
}

// writeCard makes an SD card's image around a root image.
func writeCard(t *testing.T, image []byte) string {
	t.Helper()
	const start = 64
	sectors := (int64(len(image)) + mbr.SectorSize - 1) / mbr.SectorSize
	disk := make([]byte, (start+sectors)*mbr.SectorSize)
	table, err := mbr.New(int64(len(disk)), 1, []mbr.Partition{{Type: mbr.Linux, Start: start, Sectors: sectors}})
	if err != nil {
		t.Fatal(err)
	}
	copy(disk, table)
	copy(disk[start*mbr.SectorSize:], image)
	path := filepath.Join(t.TempDir(), "disk-image-rpi4", "card.img")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(filepath.Dir(path))
}
