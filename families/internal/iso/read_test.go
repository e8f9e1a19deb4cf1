package iso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

func openImage(t testing.TB, path string) *Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v, err := OpenImage(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func checkFiles(t *testing.T, v *Image, entries []Entry) {
	t.Helper()
	all, err := v.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		i := slices.IndexFunc(all, func(f File) bool { return strings.EqualFold(f.Path, e.Path) })
		if i < 0 || all[i].Size != e.Size {
			t.Errorf("%q is missing or has another size: %v", e.Path, all)
			continue
		}
		r, err := v.OpenFile(e.Path)
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		checkContent(t, e, got)
	}
}

func TestReadOwn(t *testing.T) {
	entries := []Entry{
		regular("root.img", strings.Repeat("root", 5000)),
		regular("a/b/A file with a rather long name, as it is in Joliet.txt", "long"),
		regular("a/ü", "not ASCII"),
		regular("a/b/empty", ""),
	}
	for i := range 300 { // a directory of many sectors
		entries = append(entries, regular(fmt.Sprintf("many/file %d", i), fmt.Sprint(i)))
	}
	cfg := config()
	boot := bytes.Repeat([]byte("boot"), 3*SectorSize/4)
	cfg.Boot.Image = extent.New(int64(len(boot)))
	cfg.Boot.Image.AddBytes(0, boot)
	v := openImage(t, foreign.Save(t, newImage(t, cfg, entries)))
	if v.VolumeID != cfg.VolumeID || !v.Joliet {
		t.Errorf("volume %q, Joliet %t", v.VolumeID, v.Joliet)
	}
	checkFiles(t, v, entries)
	r, err := v.BootImage()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, boot) {
		t.Errorf("the boot image has %d bytes, want %d, or they differ: %v", len(got), len(boot), err)
	}
	for _, path := range []string{"", "a", "nothing", "root.img/x", "a//b"} {
		if _, err := v.OpenFile(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opening %q: %v", path, err)
		}
	}
}

// TestReadForeign reads what xorriso has written, with and without Joliet.
func TestReadForeign(t *testing.T) {
	dir := t.TempDir()
	entries := []Entry{regular("ROOT.IMG", strings.Repeat("root", 3000)), regular("DIR/FILE.TXT", "text"), regular("NODOT", "")}
	for _, e := range entries {
		path := filepath.Join(dir, "tree", e.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(contentOf(t, e)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	boot := filepath.Join(dir, "tree", "boot.img")
	if err := os.WriteFile(boot, bytes.Repeat([]byte{7}, 8192), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, joliet := range []string{"on", "off"} {
		path := filepath.Join(dir, joliet+".iso")
		foreign.Run(t, "xorriso", "xorriso", "-outdev", path, "-volid", "FOREIGN", "-joliet", joliet,
			"-map", filepath.Join(dir, "tree"), "/", "-boot_image", "any", "efi_path=/boot.img")
		v := openImage(t, path)
		if v.VolumeID != "FOREIGN" || v.Joliet != (joliet == "on") {
			t.Errorf("volume %q, Joliet %t", v.VolumeID, v.Joliet)
		}
		checkFiles(t, v, entries)
		r, err := v.BootImage()
		if err != nil || r.Size() != 8192 {
			t.Errorf("boot image: %v, %v", r, err)
		}
	}
}

// imageBytes is a small volume in memory.
func imageBytes(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(foreign.Save(t, newImage(t, config(), []Entry{regular("dir/file", "text")})))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadRefuses(t *testing.T) {
	le := binary.LittleEndian
	root := func(b []byte) []byte { return b[jolietSector*SectorSize+156:] }
	for name, change := range map[string]func([]byte){
		"no volume":      func(b []byte) { b[primarySector*SectorSize+1] = 0 },
		"other blocks":   func(b []byte) { b[primarySector*SectorSize+129] = 4 },
		"no terminator":  func(b []byte) { clear(b[terminatorSector*SectorSize:][:SectorSize]) },
		"a huge volume":  func(b []byte) { b[primarySector*SectorSize+83] = 0xff },
		"a huge root":    func(b []byte) { root(b)[13] = 0xff },
		"a root apart":   func(b []byte) { root(b)[5] = 0xff },
		"a short record": func(b []byte) { b[le.Uint32(root(b)[2:])*SectorSize] = 20 },
		"a long name":    func(b []byte) { b[le.Uint32(root(b)[2:])*SectorSize+32] = 200 },
		"a root within itself": func(b []byte) {
			dir := b[le.Uint32(root(b)[2:])*SectorSize:]
			for dir[25]&flagDirectory == 0 || dir[32] == 1 { // 1 is the length of the names "." and ".."
				dir = dir[dir[0]:]
			}
			copy(dir[2:10], root(b)[2:10])
		},
	} {
		b := imageBytes(t)
		change(b)
		v, err := OpenImage(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			_, err = v.Files()
		}
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for name, change := range map[string]func([]byte){
		"no catalog":       func(b []byte) { clear(b[bootRecordSector*SectorSize+71:][:4]) },
		"a catalog apart":  func(b []byte) { b[bootRecordSector*SectorSize+74] = 0xff },
		"a broken catalog": func(b []byte) { b[le.Uint32(b[bootRecordSector*SectorSize+71:])*SectorSize+4] = 1 },
		"not bootable":     func(b []byte) { b[le.Uint32(b[bootRecordSector*SectorSize+71:])*SectorSize+32] = 0 },
		"an image apart":   func(b []byte) { b[le.Uint32(b[bootRecordSector*SectorSize+71:])*SectorSize+43] = 1 },
	} {
		b := imageBytes(t)
		change(b)
		v, err := OpenImage(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			_, err = v.BootImage()
		}
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzOpenImage(f *testing.F) {
	f.Add(imageBytes(f)[primarySector*SectorSize:])
	f.Fuzz(func(t *testing.T, data []byte) {
		b := append(make([]byte, primarySector*SectorSize), data...)
		v, err := OpenImage(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if r, err := v.BootImage(); err == nil {
			if _, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20)); err != nil {
				t.Errorf("the boot image leaves the volume: %v", err)
			}
		}
		files, err := v.Files()
		if err != nil {
			return
		}
		for _, file := range files[:min(len(files), 50)] {
			if r, err := v.OpenFile(file.Path); err == nil {
				_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
			}
		}
	})
}
