package iso9660

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// volume returns the descriptor of an image that xorriso wrote.
func volume(t testing.TB) []byte {
	t.Helper()
	if _, err := exec.LookPath("xorriso"); err != nil {
		t.Fatal("the program xorriso is missing; install the Debian package xorriso")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "root.img"), []byte("root"), 0o644); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "image.iso")
	out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "BOOT", "-o", name, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	image, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return image[Offset : Offset+Size]
}

func TestParse(t *testing.T) {
	v, ok := Parse(volume(t))
	if !ok || v.ID != "BOOT" || v.Size < Offset {
		t.Errorf("got %+v, %v", v, ok)
	}
}

func TestParseOthers(t *testing.T) {
	good := volume(t)
	if _, ok := Parse(good[:Size-1]); ok {
		t.Error("a short descriptor was taken")
	}
	for what, at := range map[string]int{"type": 0, "magic": 3, "version": 6, "size": 80, "block size": 128} {
		bad := bytes.Clone(good)
		bad[at] ^= 0x40
		if v, ok := Parse(bad); ok {
			t.Errorf("%s changed: got %+v", what, v)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(volume(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, ok := Parse(b); ok && (v.Size <= 0 || len(v.ID) > 32) {
			t.Errorf("got %+v", v)
		}
	})
}
