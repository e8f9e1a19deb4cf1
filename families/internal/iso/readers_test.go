package iso

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	diskfs "github.com/diskfs/go-diskfs/backend/file"
	diskiso "github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/kdomanski/iso9660"

	"github.com/powernode/bootsmith/families/internal/foreign"
)

// TestReaders gives hard and random trees to readers of other projects.
func TestReaders(t *testing.T) {
	trees := map[string][]Entry{"hard": hardTree()}
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 12 {
		trees[fmt.Sprint("random ", i)] = randomTree(rng)
	}
	for name, entries := range trees {
		t.Run(name, func(t *testing.T) {
			path := foreign.Save(t, newImage(t, config(), entries))
			t.Run("isovfy", func(t *testing.T) { checkVerified(t, entries) })
			t.Run("xorriso", func(t *testing.T) { checkExtracted(t, path, entries) })
			t.Run("joliet", func(t *testing.T) { checkJoliet(t, path, entries) })
		})
	}
}

// TestGoReaders uses a plain tree: kdomanski/iso9660 loses the Rock Ridge names
// of directories that take more than a sector, go-diskfs those that begin with
// a dot.
func TestGoReaders(t *testing.T) {
	entries := []Entry{
		regular("root.img", strings.Repeat("root", 5000)),
		regular("a/b/A file with a rather long name, which is not in its record.txt", "long"),
		regular("a/b/empty", ""),
		regular("a/ü", "not ASCII"),
	}
	path := foreign.Save(t, newImage(t, config(), entries))
	checkKdomanski(t, path, entries)
	checkDiskfs(t, path, entries)
}

func checkVerified(t *testing.T, entries []Entry) {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return e.Path == longLink })
	path := foreign.Save(t, newImage(t, config(), entries))
	if out := foreign.Run(t, "genisoimage", "isovfy", path); !strings.Contains(out, "No errors found") {
		t.Errorf("isovfy: %s", out)
	}
}

// randomTree makes files, directories and links with random names.
func randomTree(rng *rand.Rand) []Entry {
	dirs := []string{""}
	seen := map[string]bool{"boot.cat": true, "efi.img": true}
	var entries []Entry
	for range 1 + rng.IntN(200) {
		path := dirs[rng.IntN(len(dirs))] + randomName(rng)
		if seen[path] {
			continue
		}
		seen[path] = true
		switch rng.IntN(5) {
		case 0:
			if strings.Count(path, "/") < maxDepth-1 {
				entries = append(entries, Entry{Path: path, Mode: fs.ModeDir | 0o500 | fs.FileMode(rng.IntN(64))})
				if strings.Count(path, "/") < maxDepth-2 {
					dirs = append(dirs, path+"/")
				}
			}
		case 1:
			entries = append(entries, link(path, strings.Repeat(randomName(rng)+"/", rng.IntN(8))+randomName(rng)))
		default:
			entries = append(entries, regular(path, strings.Repeat("content of "+path, rng.IntN(100))))
		}
	}
	return entries
}

func randomName(rng *rand.Rand) string {
	alphabet := []string{"a", "B", "c", "_", "-", ".x", " ", "9", "ü", "漢", "~", ";"}
	var b strings.Builder
	length := 1 + rng.IntN(4)
	if rng.IntN(4) == 0 {
		length = 1 + rng.IntN(80)
	}
	for range length {
		b.WriteString(alphabet[rng.IntN(len(alphabet))])
	}
	return b.String()
}

// checkExtracted compares what xorriso extracts with the entries.
func checkExtracted(t *testing.T, path string, entries []Entry) {
	dir := extract(t, path, "any")
	for _, e := range entries {
		name := filepath.Join(dir, e.Path)
		info, err := os.Lstat(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode() != e.Mode || e.Mode&fs.ModeSymlink == 0 && !info.ModTime().Equal(epoch) {
			t.Errorf("%q has mode %v and time %v, want %v and %v", e.Path, info.Mode(), info.ModTime(), e.Mode, epoch)
		}
		switch e.Mode.Type() {
		case 0:
			checkContent(t, e, readFile(t, name))
		case fs.ModeSymlink:
			if got, err := os.Readlink(name); err != nil || got != e.Target {
				t.Errorf("%q leads to %q (%v), want %q", e.Path, got, err, e.Target)
			}
		}
	}
	checkCount(t, dir, entries, func(Entry) bool { return true })
}

// checkJoliet lets xorriso read the second tree, in which names may differ:
// the contents tell which file is which.
func checkJoliet(t *testing.T, path string, entries []Entry) {
	dir := extract(t, path, "norock")
	found := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found[string(readFile(t, path))]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.Mode.IsRegular() {
			continue
		}
		content := contentOf(t, e)
		if found[content] == 0 {
			t.Errorf("%q is missing", e.Path)
		}
		found[content]--
	}
	checkCount(t, dir, entries, func(e Entry) bool { return e.Mode&fs.ModeSymlink == 0 })
}

func extract(t *testing.T, path, tree string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "extracted")
	foreign.Run(t, "xorriso", "xorriso", "-abort_on", "WARNING", "-read_fs", tree, "-osirrox", "on", "-indev", path, "-extract", "/", dir)
	t.Cleanup(func() {
		// Directories without the owner's write permission can't be emptied.
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o700)
			}
			return err
		})
	})
	return dir
}

// checkCount makes sure that nothing is there that nobody asked for: beside the
// entries there are the directories that lead to them, and two boot files.
func checkCount(t *testing.T, dir string, entries []Entry, count func(Entry) bool) {
	t.Helper()
	want := map[string]bool{".": true, "boot.cat": true, "efi.img": true}
	for _, e := range entries {
		if !count(e) {
			continue
		}
		for p := e.Path; p != "."; p = filepath.Dir(p) {
			want[p] = true
		}
	}
	got := 0
	if err := filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { got++; return nil }); err != nil {
		t.Fatal(err)
	}
	if got != len(want) {
		t.Errorf("%d names were extracted, want %d", got, len(want))
	}
}

func contentOf(t *testing.T, e Entry) string {
	t.Helper()
	r, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func checkContent(t *testing.T, e Entry, got []byte) {
	t.Helper()
	if want := contentOf(t, e); string(got) != want {
		t.Errorf("%q has %d bytes, want %d, or they differ", e.Path, len(got), len(want))
	}
}

// checkKdomanski reads files through Rock Ridge names.
func checkKdomanski(t *testing.T, path string, entries []Entry) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image, err := iso9660.OpenImage(f)
	if err != nil {
		t.Fatal(err)
	}
	root, err := image.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.Mode.IsRegular() {
			continue
		}
		at := root
		for elem := range strings.SplitSeq(e.Path, "/") {
			if at = kdomanskiChild(t, at, elem); at == nil {
				t.Fatalf("%q: %q is missing", e.Path, elem)
			}
		}
		got, err := io.ReadAll(at.Reader())
		if err != nil {
			t.Fatal(err)
		}
		checkContent(t, e, got)
	}
}

func kdomanskiChild(t *testing.T, dir *iso9660.File, name string) *iso9660.File {
	t.Helper()
	children, err := dir.GetChildren()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// checkDiskfs reads files through go-diskfs.
func checkDiskfs(t *testing.T, path string, entries []Entry) {
	storage, err := diskfs.OpenFromPath(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	volume, err := diskiso.Read(storage, info.Size(), 0, SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.Mode.IsRegular() {
			continue
		}
		f, err := volume.OpenFile(e.Path, os.O_RDONLY)
		if err != nil {
			t.Errorf("%q: %v", e.Path, err)
			continue
		}
		got, err := io.ReadAll(f)
		if err != nil {
			t.Errorf("%q: %v", e.Path, err)
		}
		checkContent(t, e, got)
	}
}
