package fat

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/families/internal/foreign"
)

func openVolume(t testing.TB, path string) *Volume {
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
	v, err := Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func checkVolume(t *testing.T, v *Volume, files []File) {
	t.Helper()
	all, err := v.Files()
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(e Entry) bool { return e.IsDir })
	if len(all) != len(files) {
		t.Errorf("%d files, want %d: %v", len(all), len(files), all)
	}
	for _, f := range files {
		i := slices.IndexFunc(all, func(e Entry) bool { return e.Path == f.Path })
		if i < 0 || all[i].Size != f.Size {
			t.Errorf("%q is missing or has another size", f.Path)
			continue
		}
		got := sum(t, func() (io.ReadCloser, error) {
			r, err := v.OpenFile(strings.ToUpper(f.Path))
			return io.NopCloser(r), err
		})
		if got != sum(t, f.Open) {
			t.Errorf("%q has other bytes", f.Path)
		}
	}
}

func TestReadOwn(t *testing.T) {
	files := []File{
		memFile("EFI/BOOT/BOOTX64.EFI", bytes.Repeat([]byte("program"), 100_000)),
		memFile("identity.cfg", []byte("x")),
		memFile("certs/Authority of this site, with a long name.pem", bytes.Repeat([]byte("cert"), 999)),
		memFile("certs/ünï — 漢字.pem", nil),
		zeroFile("zero", 3<<20),
	}
	v := openVolume(t, foreign.Save(t, mustNew(t, config, files)))
	checkVolume(t, v, files)
	if v.Label != "ESP" || v.ID != config.VolumeID {
		t.Errorf("label %q, serial number %x", v.Label, v.ID)
	}
	for _, path := range []string{"", "efi", "EFI/BOOT", "nothing", "identity.cfg/x", "efi//boot"} {
		if _, err := v.OpenFile(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opening %q: %v", path, err)
		}
	}
}

// TestReadForeign reads what mkfs.vfat and mtools have written, with files in
// several runs.
func TestReadForeign(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/volume"
	foreign.Run(t, "dosfstools", "mkfs.vfat", "-C", "-F", "32", "-s", "1", "-n", "SOME LABEL", path, "40960")
	write := func(name string, size int) File {
		data := bytes.Repeat([]byte(name+"\n"), size/(len(name)+1)+1)[:size]
		if err := os.WriteFile(dir+"/file", data, 0o600); err != nil {
			t.Fatal(err)
		}
		foreign.Run(t, "mtools", "mcopy", "-o", "-i", path, dir+"/file", "::/"+name)
		return memFile(name, data)
	}
	foreign.Run(t, "mtools", "mmd", "-i", path, "::/SHORT", "::/long name")
	files := []File{write("SHORT/FILE.TXT", 1000)}
	for i := range 20 {
		name := strings.Repeat("x", i+1) + ".bin"
		write(name, 5000)
		files = append(files, write("long name/"+name, 3000))
	}
	for i := range 20 {
		foreign.Run(t, "mtools", "mdel", "-i", path, "::/"+strings.Repeat("x", i+1)+".bin")
	}
	files = append(files, write("fragmented", 180_000))
	v := openVolume(t, path)
	checkVolume(t, v, files)
	if v.Label != "SOME LABEL" {
		t.Errorf("label %q", v.Label)
	}
}

// volumeBytes is a small volume in memory.
func volumeBytes(t testing.TB) []byte {
	t.Helper()
	cfg := config
	cfg.Size = 33 << 20 // the least that has the clusters of a FAT32
	data, err := os.ReadFile(foreign.Save(t, mustNew(t, cfg, []File{memFile("dir/A long name indeed.txt", []byte("text"))})))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestReadRefuses(t *testing.T) {
	for name, change := range map[string]func([]byte){
		"no signature":         func(b []byte) { b[510] = 0 },
		"sectors of no size":   func(b []byte) { b[11], b[12] = 0, 0 },
		"clusters of no size":  func(b []byte) { b[13] = 0 },
		"FAT16":                func(b []byte) { b[22] = 1 },
		"more than the volume": func(b []byte) { b[35] = 0xff },
		"a table too small":    func(b []byte) { clear(b[36:40]); b[36] = 1 },
		"no room for the root": func(b []byte) { b[47] = 0x0f },
	} {
		b := volumeBytes(t)
		change(b)
		v, err := Open(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			_, err = v.Files()
		}
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// TestReadLoops sends a directory's chain of clusters, and then a directory,
// back into itself.
func TestReadLoops(t *testing.T) {
	b := volumeBytes(t)
	v, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	fill := func(cluster uint32, entry []byte) {
		at := v.dataStart + int64(cluster-2)*v.clusterSize
		copy(b[at:at+v.clusterSize], bytes.Repeat(entry, int(v.clusterSize)/entrySize))
	}
	deleted := append([]byte{0xe5}, make([]byte, entrySize-1)...)
	fill(2, deleted)
	copy(b[v.tableStart+8:], []byte{2, 0, 0, 0})
	if all, err := v.Files(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	self := append([]byte("LOOP       \x10"), make([]byte, entrySize-12)...)
	self[26] = 2
	fill(2, self)
	v, err = Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Files(); err == nil || !strings.Contains(err.Error(), "levels") {
		t.Errorf("a directory that holds itself: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	b := volumeBytes(f)
	v, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:512], b[v.tableStart:v.tableStart+64], b[v.dataStart:v.dataStart+3*v.clusterSize])
	f.Fuzz(func(t *testing.T, boot, table, data []byte) {
		b := make([]byte, 40<<10)
		copy(b[:512], boot)
		copy(b[512:8<<10], table)
		copy(b[8<<10:], data)
		v, err := Open(bytes.NewReader(b), 33<<20)
		if err != nil {
			return
		}
		all, err := v.Files()
		if err != nil {
			return
		}
		for _, e := range all[:min(len(all), 100)] {
			r, err := v.OpenFile(e.Path)
			if err != nil {
				continue
			}
			if _, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20)); err == nil && r.Size() > e.Size {
				t.Errorf("%q has %d bytes instead of %d", e.Path, r.Size(), e.Size)
			}
		}
	})
}
