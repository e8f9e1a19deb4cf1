package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/deb"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// open opens a cache whose clock shows a time.
func open(t *testing.T, dir string, now time.Time) *Cache {
	t.Helper()
	c, err := Open(t.Context(), dir, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func sum(s string) string {
	digest := sha256.Sum256([]byte(s))
	return hexOf(digest[:])
}

// put keeps an entry with one file.
func put(t *testing.T, c *Cache, name, content string) *Entry {
	t.Helper()
	digest, err := c.KeepBytes([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	e := &Entry{Key: sum("key of " + name), Stage: "amd64/" + name, Value: []byte(`{"a":1}`),
		Files: []File{{Name: "file", Size: int64(len(content)), SHA256: digest}}}
	if err := c.Put(e); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(e.Key); err != nil {
		t.Fatal(err)
	}
	return e
}

// restored returns the first file of an entry, as Restore writes it.
func restored(t *testing.T, c *Cache, e *Entry) string {
	t.Helper()
	dir := t.TempDir()
	if err := c.Restore(t.Context(), e, dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, e.Files[0].Name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPutAndGet(t *testing.T) {
	c := open(t, t.TempDir(), noon)
	want := put(t, c, "raw", "hello")
	got, err := c.Get(want.Key)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	if text := restored(t, c, got); text != "hello" {
		t.Errorf("restored was %q", text)
	}
	if !c.Has(want.Key) || c.Has(sum("x")) {
		t.Error("Has is wrong")
	}
	if _, err := c.Get(sum("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := c.Evict(got); err != nil || c.Has(want.Key) {
		t.Errorf("it is still there, %v", err)
	}
	if err := c.Verify(want.Files[0].SHA256, 5); err != nil {
		t.Errorf("a whole blob was evicted: %v", err)
	}
}

// TestKeepFile takes files apart and puts them together again.
func TestKeepFile(t *testing.T) {
	c := open(t, t.TempDir(), noon)
	image := strings.Repeat("image", 1000)
	digest, err := c.KeepBytes([]byte(image))
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("\x00", 5000)
	for name, x := range map[string]struct {
		content string
		spans   []Span
		own     int64 // bytes that are stored again
	}{
		"whole":   {"abc", nil, 3},
		"empty":   {"", nil, 0},
		"same":    {image, []Span{{Size: 5000, From: c.Blob(digest)}}, 0},
		"around":  {"a" + image + "b" + zeros, []Span{{Size: 1}, {Size: 5000, From: c.Blob(digest)}, {Size: 1}, {Size: 5000, Hole: true}}, 2},
		"pieces":  {"a" + zeros + "b" + image + "c", []Span{{Size: 1}, {Size: 5000, Hole: true}, {Size: 1}, {Size: 5000, From: c.Blob(digest)}, {Size: 1}}, 3},
		"twice":   {image + image, []Span{{Size: 5000, From: c.Blob(digest)}, {Size: 5000, From: c.Blob(digest)}}, 0},
		"unknown": {image, []Span{{Size: 5000, From: "/elsewhere"}}, 5000},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(x.content), 0o644); err != nil {
				t.Fatal(err)
			}
			f, err := c.KeepFile(t.Context(), path, File{Name: name, Size: int64(len(x.content)), SHA256: sum(x.content)}, x.spans)
			if err != nil {
				t.Fatal(err)
			}
			e := &Entry{Key: sum(name), Stage: name, Files: []File{f}}
			if err := errors.Join(e.check(), c.Put(e)); err != nil {
				t.Fatal(err)
			}
			if e, err = c.Get(e.Key); err != nil {
				t.Fatal(err)
			}
			if text := restored(t, c, e); text != x.content {
				t.Errorf("restored were %d bytes", len(text))
			}
			var own int64
			for blob := range e.Blobs() {
				if info, err := os.Stat(c.Blob(blob)); err == nil && blob != digest {
					own += info.Size()
				}
			}
			if name != "unknown" && own != x.own {
				t.Errorf("%d bytes are stored again, not %d", own, x.own)
			}
		})
	}
}

func TestDamage(t *testing.T) {
	c := open(t, t.TempDir(), noon)
	for name, damage := range map[string]func(e *Entry) error{
		"entry cut":    func(e *Entry) error { return os.Truncate(c.entryFile(e.Key), 20) },
		"entry zeroed": func(e *Entry) error { return os.WriteFile(c.entryFile(e.Key), make([]byte, 100), 0o644) },
		"entry of other": func(e *Entry) error {
			other := put(t, c, "other", "x")
			return os.Rename(c.entryFile(other.Key), c.entryFile(e.Key))
		},
		"blob gone":  func(e *Entry) error { return os.Remove(c.Blob(e.Files[0].SHA256)) },
		"blob short": func(e *Entry) error { return os.Truncate(c.Blob(e.Files[0].SHA256), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			e := put(t, c, name, "content of "+name)
			if err := damage(e); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Get(e.Key); !IsDamage(err) {
				t.Errorf("got %v", err)
			}
			if c.Has(e.Key) {
				t.Error("the entry is still there")
			}
		})
	}
	e := put(t, c, "flipped", "content")
	blob := c.Blob(e.Files[0].SHA256)
	whole := e.Files
	for name, x := range map[string]struct {
		content string
		pieces  []Piece
	}{
		"flipped": {"cOntent", nil},
		"longer":  {"content!", nil},
		"shorter": {"conten", nil},
		"partly":  {"content", []Piece{{Blob: e.Files[0].SHA256, Size: 3}, {Size: 4}}},
		"mixed":   {"content", []Piece{{Blob: e.Files[0].SHA256, Offset: 3, Size: 4}, {Blob: e.Files[0].SHA256, Size: 3}}},
	} {
		if err := os.WriteFile(blob, []byte(x.content), 0o644); err != nil {
			t.Fatal(err)
		}
		e.Files = []File{{Name: "file", Size: 7, SHA256: whole[0].SHA256, Pieces: x.pieces}}
		dir := t.TempDir()
		if err := c.Restore(t.Context(), e, dir); !IsDamage(err) {
			t.Errorf("%s: got %v", name, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left behind, %v", name, left, err)
		}
	}
	if err := os.WriteFile(blob, []byte("cOntent"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(whole[0].SHA256, 7); !IsDamage(err) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(blob); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the damaged blob is still there")
	}
}

// FuzzDecode feeds entries that somebody else wrote: whatever is accepted names
// files inside the cache only.
func FuzzDecode(f *testing.F) {
	e := &Entry{Key: sum("k"), Stage: "s", Files: []File{{Name: "a/b", Size: 3, SHA256: sum("abc"), Pieces: []Piece{{Size: 1}, {Blob: sum("x"), Size: 2}}}}}
	good, err := e.Encode()
	if err != nil {
		f.Fatal(err)
	}
	_, data, _ := bytes.Cut(good, []byte("\n"))
	f.Add(data)
	for _, s := range []string{"a/b", "../b", "/a"} {
		f.Add(bytes.ReplaceAll(data, []byte("a/b"), []byte(s)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Decode(append([]byte(header(data)+"\n"), data...))
		if err != nil {
			return
		}
		for digest, size := range e.Blobs() {
			if !isDigest(digest) || size < 0 {
				t.Errorf("blob %q of %d bytes", digest, size)
			}
		}
		for _, file := range e.Files {
			if !filepath.IsLocal(file.Name) {
				t.Errorf("file %q", file.Name)
			}
		}
	})
}

// What killed builds left is deleted, but not while another build may be using
// it.
func TestScratch(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, noon)
	left := filepath.Join(dir, tmpDir, "run-killed")
	if err := os.Mkdir(left, 0o755); err != nil {
		t.Fatal(err)
	}
	second := open(t, dir, noon)
	if _, err := os.Stat(left); err != nil || first.Scratch() == second.Scratch() {
		t.Errorf("%v; scratch folders %s and %s", err, first.Scratch(), second.Scratch())
	}
	first.Close()
	second.Close()
	third := open(t, dir, noon)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what a killed build left is still there")
	}
	if err := errors.Join(third.Close(), third.Close()); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, tmpDir)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func prune(t *testing.T, dir string, l Limits, m Mode) *Pruned {
	t.Helper()
	p, err := Prune(t.Context(), dir, l, noon, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func keys(t *testing.T, dir string) string {
	t.Helper()
	l, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range l.Entries {
		names = append(names, strings.TrimPrefix(e.Stage, "amd64/"))
	}
	return strings.Join(names, " ")
}

// TestPrune deletes what was not used for longest, and what only that used.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	big := strings.Repeat("x", 1<<20)
	for i, name := range []string{"oldest", "older", "newest"} {
		c := open(t, dir, noon.Add(time.Duration(i-3)*time.Hour))
		put(t, c, name, name+big)
		put(t, c, name+"-shares", "shared"+big)
		c.Close()
	}
	if got := keys(t, dir); got != "newest newest-shares older older-shares oldest oldest-shares" {
		t.Errorf("the entries are %q", got)
	}
	before := filesBelow(t, dir)
	dry := prune(t, dir, Limits{Size: 3<<20 + 1<<19}, Mode{DryRun: true})
	if after := filesBelow(t, dir); after != before {
		t.Errorf("a dry run left %d files of %d", after, before)
	}
	wet := prune(t, dir, Limits{Size: 3<<20 + 1<<19}, Mode{})
	if !reflect.DeepEqual(dry, wet) || wet.Size < 1<<20 || wet.Size > 2<<20 || wet.Left > 3<<20+1<<19 {
		t.Errorf("a dry run says %+v, a real one %+v", dry, wet)
	}
	if got := keys(t, dir); strings.Contains(got, "oldest ") || !strings.Contains(got, "older-shares") {
		t.Errorf("%q are left", got)
	}
	prune(t, dir, Limits{Size: -1, Age: 90 * time.Minute}, Mode{})
	if got := keys(t, dir); got != "newest newest-shares" {
		t.Errorf("%q are left", got)
	}
	c := open(t, dir, noon)
	for _, name := range []string{"newest", "newest-shares"} {
		e, err := c.Get(sum("key of " + name))
		if err == nil {
			err = c.Verify(e.Files[0].SHA256, e.Files[0].Size)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.Close()
	if all := prune(t, dir, Limits{}, Mode{}); all.Left != 0 {
		t.Errorf("%d bytes are left", all.Left)
	}
	if n := filesBelow(t, dir); n != 1 { // the lock
		t.Errorf("%d files are left", n)
	}
}

func filesBelow(t *testing.T, dir string) (n int) {
	t.Helper()
	if err := walkFiles(dir, func(string, fs.FileInfo) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPruneKeepsWhatTreesNeed: objects stay as long as a tree names them.
func TestPruneKeepsWhatTreesNeed(t *testing.T) {
	dir := t.TempDir()
	objects, err := store.Open(filepath.Join(dir, objectsDir))
	if err != nil {
		t.Fatal(err)
	}
	content := func(s string) (tree.Content, int64) {
		c, size, err := objects.Put(strings.NewReader(strings.Repeat(s, 100)))
		if err != nil {
			t.Fatal(err)
		}
		return c, size
	}
	used, size := content("used")
	orphan, _ := content("orphan")
	root := tree.New(0)
	if err := root.Put("a", &tree.Inode{Mode: tree.TypeRegular, Size: size, Content: used}); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir, noon)
	e := put(t, c, "tree", string(root.Encode()))
	e.Files[0].MediaType = TreeMediaType
	if err := c.Put(e); err != nil {
		t.Fatal(err)
	}
	unfinished := filepath.Join(dir, objectsDir, "tmp", "123")
	if err := os.WriteFile(unfinished, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sha256/ab"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sha256/ab/cd", "sha256/ab/.new-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("package"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	prune(t, dir, NoLimits(), Mode{})
	if !objects.Has(used, size) || objects.Has(orphan, 600) {
		t.Errorf("the used object: %v, the orphan: %v", objects.Has(used, size), objects.Has(orphan, 600))
	}
	for name, want := range map[string]bool{unfinished: false, filepath.Join(dir, "sha256/ab/cd"): true, filepath.Join(dir, "sha256/ab/.new-1"): false} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(c.Blob(e.Files[0].SHA256), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	prune(t, dir, NoLimits(), Mode{})
	if keys(t, dir) != "" || objects.Has(used, size) {
		t.Error("a damaged entry, or what it used, is still there")
	}
}

// To look for what can be deleted is not to use it.
func TestPruneUsesNothing(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, noon).Close()
	listing := filepath.Join(dir, listingsDir, "v1", "ab", "cd")
	if err := os.MkdirAll(filepath.Dir(listing), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(listing, (&deb.Package{}).Marshal(), 0o644); err != nil {
		t.Fatal(err)
	}
	old := noon.AddDate(0, 0, -40)
	if err := os.Chtimes(listing, old, old); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		prune(t, dir, NoLimits(), Mode{})
	}
	info, err := os.Stat(listing)
	if err != nil {
		t.Fatal(err)
	}
	if got := lastUse(info); !got.Equal(old) {
		t.Errorf("it was used %s, not %s", got, old)
	}
	prune(t, dir, Limits{Size: -1, Age: 30 * 24 * time.Hour}, Mode{})
	if _, err := os.Stat(listing); err == nil {
		t.Error("what is too old is still there")
	}
}

// A folder that is named by mistake keeps its files.
func TestNoCache(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tmp/notes", "objects/thesis"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("x"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Prune(t.Context(), dir, Limits{}, noon, Mode{}); fault.ClassOf(err) != fault.Input {
		t.Errorf("got %v", err)
	}
	open(t, dir, noon).Close()
	if n := filesBelow(t, dir); n != 3 { // with the lock
		t.Errorf("%d files are left", n)
	}
	if p := prune(t, filepath.Join(dir, "missing"), Limits{}, Mode{}); p.Left != 0 {
		t.Errorf("got %+v", p)
	}
}

// TestPruneWaits for running builds, or says that there are some.
func TestPruneWaits(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, noon)
	if _, err := Prune(t.Context(), dir, NoLimits(), noon, Mode{}); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*lockWait)
	defer cancel()
	if _, err := Prune(ctx, dir, NoLimits(), noon, Mode{Wait: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := Prune(t.Context(), dir, NoLimits(), noon, Mode{Wait: true})
		done <- err
	}()
	time.Sleep(2 * lockWait)
	c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestListOfNoCache(t *testing.T) {
	l, err := List(filepath.Join(t.TempDir(), "none"))
	if err != nil || len(l.Entries) != 0 || l.Size != 0 || len(l.Totals) != len(Kinds()) {
		t.Errorf("%+v, %v", l, err)
	}
}
