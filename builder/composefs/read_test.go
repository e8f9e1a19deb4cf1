package composefs

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/powernode/bootsmith/builder/tree"
)

// What was written is read as the same tree, contents included.
func TestReadRoot(t *testing.T) {
	s, _ := newStore(t)
	for name, tr := range map[string]*tree.Tree{
		"sizes": storedTree(t, s, sizes()),
		"kinds": newTree(t, func(b builder) {
			b.put("a", &tree.Inode{Mode: tree.TypeDir | 0o1777, UID: 7, GID: 1 << 20, Mtime: 5, MtimeNsec: 6})
			b.put("a/link", &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "../b"})
			b.put("a/null", &tree.Inode{Mode: tree.TypeChar | 0o666, Major: 1, Minor: 3})
			b.put("a/disk", &tree.Inode{Mode: tree.TypeBlock | 0o660, Major: 259, Minor: 70000})
			b.put("a/pipe", &tree.Inode{Mode: tree.TypeFifo | 0o600})
			b.put("ff", &tree.Inode{Mode: tree.TypeDir | 0o755})
			c, size, err := s.Put(bytes.NewReader([]byte("small")))
			if err != nil {
				t.Fatal(err)
			}
			b.put("b", &tree.Inode{Mode: tree.TypeRegular | 0o4755, Size: size, Content: c, Xattrs: map[string]string{"user.x": "y", "trusted.overlay.z": "", "security.capability": "\x00"}})
			b.link("b", "c")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			_, path := writeRoot(t, tr, s)
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			root, err := ReadRoot(t.Context(), f, info.Size())
			if err != nil {
				t.Fatal(err)
			}
			var want, got bytes.Buffer
			if err := WriteDump(&want, tr); err != nil {
				t.Fatal(err)
			}
			if err := WriteDump(&got, root.Tree); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want.Bytes(), got.Bytes()) {
				t.Errorf("read\n%s, written\n%s", got.Bytes(), want.Bytes())
			}
			compareContents(t, root, tr, func(c tree.Content) (io.ReadCloser, error) { return s.Open(c) })
		})
	}
}

func compareContents(t *testing.T, root *Root, tr *tree.Tree, open func(tree.Content) (io.ReadCloser, error)) {
	t.Helper()
	read := func(open func(tree.Content) (io.ReadCloser, error), c tree.Content) []byte {
		r, err := open(c)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	_ = root.Tree.Walk(func(path string, n *tree.Node) error {
		if !n.Inode.IsRegular() {
			return nil
		}
		same, err := tr.Lookup(path)
		if err != nil || !bytes.Equal(read(root.Open, n.Inode.Content), read(open, same.Inode.Content)) {
			t.Errorf("%s holds something else (%v)", path, err)
		}
		return nil
	})
}

// False images are errors, and end.
func FuzzReadRoot(f *testing.F) {
	s, _ := newStore(f)
	_, path := writeRoot(f, storedTree(f, s, []int64{1, 100, 5000}), s)
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		root, err := ReadRoot(t.Context(), bytes.NewReader(data), int64(len(data)))
		if err == nil && root.Tree.Root == nil {
			t.Error("neither a root nor an error")
		}
	})
}
