package fat

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

var config = Config{
	Label:         "ESP",
	VolumeID:      0x1234abcd,
	HiddenSectors: 2048,
	Time:          time.Date(2026, 11, 22, 13, 14, 16, 0, time.UTC),
}

func memFile(path string, data []byte) File {
	return File{Path: path, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// zeroFile is a file of zeros that takes no memory.
func zeroFile(path string, size int64) File {
	return File{Path: path, Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(zero{}, size)), nil
	}}
}

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func mustNew(t testing.TB, cfg Config, files []File) *extent.Image {
	t.Helper()
	image, err := New(cfg, files)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// check lets fsck.vfat look at a volume; it must find nothing to say.
func check(t testing.TB, path string) {
	t.Helper()
	out := foreign.Run(t, "dosfstools", "fsck.vfat", "-n", "-v", path)
	for _, word := range []string{"differ", "rong", "Bad", "bad", "Duplicate", "Dirty", "orphan", "xpected", "fix", "invalid", "Auto"} {
		for line := range strings.Lines(out) {
			if strings.Contains(line, word) && !strings.Contains(line, "Checking for bad clusters") {
				t.Errorf("fsck.vfat: %s", line)
			}
		}
	}
}

// readBack copies all files out with mtools and compares them.
func readBack(t testing.TB, path string, files []File) {
	t.Helper()
	out := t.TempDir()
	foreign.Run(t, "mtools", "mcopy", "-s", "-n", "-m", "-i", path, "::/", out)
	found := 0
	err := filepath.WalkDir(out, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != len(files) {
		t.Errorf("mcopy found %d files, want %d", found, len(files))
	}
	for _, f := range files {
		if beyondBMP(f.Path) {
			continue
		}
		want := sum(t, f.Open)
		got := sum(t, func() (io.ReadCloser, error) { return os.Open(filepath.Join(out, f.Path)) })
		if got != want {
			t.Errorf("%q differs when mcopy reads it", f.Path)
		}
	}
}

// beyondBMP tells whether a name has surrogates, which neither mtools nor
// go-diskfs reads right.
func beyondBMP(path string) bool {
	return strings.ContainsFunc(path, func(r rune) bool { return r > 0xffff })
}

func sum(t testing.TB, open func() (io.ReadCloser, error)) string {
	t.Helper()
	f, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func openDiskfs(t testing.TB, path string) filesystem.FileSystem {
	t.Helper()
	storage, err := file.OpenFromPath(path, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storage.Close() })
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := fat32.Read(storage, info.Size(), 0, sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}
