package cache

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// treeEntry is an entry with a tree of one file, whose content is in a store.
func treeEntry(t testing.TB, c *Cache) (*Entry, *store.Store, *tree.Inode) {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	content, size, err := s.Put(bytes.NewReader(bytes.Repeat([]byte("content"), 100)))
	if err != nil {
		t.Fatal(err)
	}
	i := &tree.Inode{Mode: tree.TypeRegular, Size: size, Content: content}
	root := tree.New(0)
	if err := root.Put("file", i); err != nil {
		t.Fatal(err)
	}
	data := root.Encode()
	digest, err := c.KeepBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	return &Entry{Key: sum("tree"), Stage: "tree", Files: []File{{Name: "tree", MediaType: TreeMediaType, Size: int64(len(data)), SHA256: digest}}}, s, i
}

func TestPackObjects(t *testing.T) {
	c := open(t, t.TempDir(), noon)
	e, s, i := treeEntry(t, c)
	wanted, err := c.objectsOf(e)
	if err != nil || len(wanted) != 1 {
		t.Fatalf("%v, %v", wanted, err)
	}
	path := filepath.Join(t.TempDir(), "pack")
	if err := packObjects(t.Context(), path, wanted, s); err != nil {
		t.Fatal(err)
	}
	other, err := store.Open(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.unpackObjects(t.Context(), path, e, other); err != nil || !other.Has(i.Content, i.Size) {
		t.Errorf("the content is there: %v, %v", other.Has(i.Content, i.Size), err)
	}
	empty := &Entry{Key: sum("x"), Stage: "x"}
	if err := c.unpackObjects(t.Context(), filepath.Join(t.TempDir(), "none"), empty, other); err != nil {
		t.Errorf("without a tree: %v", err)
	}
	if err := c.unpackObjects(t.Context(), filepath.Join(t.TempDir(), "none"), e, other); !IsRejected(err) {
		t.Errorf("without an archive: %v", err)
	}
}

// FuzzUnpackObjects feeds archives that somebody else made: none brings a content
// that the tree doesn't name.
func FuzzUnpackObjects(f *testing.F) {
	c, err := Open(f.Context(), f.TempDir(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	e, s, i := treeEntry(f, c)
	wanted, err := c.objectsOf(e)
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "pack")
	if err := packObjects(f.Context(), path, wanted, s); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		pack := filepath.Join(dir, "pack")
		if err := os.WriteFile(pack, data, 0o600); err != nil {
			t.Fatal(err)
		}
		other, err := store.Open(filepath.Join(dir, "objects"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.unpackObjects(t.Context(), pack, e, other); err != nil && !IsRejected(err) {
			t.Errorf("got %v", err)
		}
		objects := 0
		if err := walkFiles(filepath.Join(dir, "objects"), func(string, os.FileInfo) error { objects++; return nil }); err != nil {
			t.Fatal(err)
		}
		if objects > 1 || objects == 1 && !other.Has(i.Content, i.Size) {
			t.Errorf("%d contents were stored", objects)
		}
	})
}
