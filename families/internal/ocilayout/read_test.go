package ocilayout

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// tarOf makes a tar of headers; regular files hold their own names.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, h.Name[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func paths(t *testing.T, of *tree.Tree) string {
	t.Helper()
	var all []string
	err := of.Walk(func(path string, n *tree.Node) error {
		if n.Inode.IsDir() {
			path += "/"
		}
		all = append(all, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// TestApply is about what is special in layers ("Applying Changesets").
func TestApply(t *testing.T) {
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	file := func(name string) tar.Header { return tar.Header{Name: name} }
	lower := []tar.Header{dir("./"), dir("a"), file("a/x"), file("a/y"), dir("b/"), file("b/z"), link("l", "b"), file("f")}
	for name, tc := range map[string]struct {
		upper []tar.Header
		want  string
	}{
		"nothing":              {nil, "/ a/ a/x a/y b/ b/z f l"},
		"a whiteout":           {[]tar.Header{file("a/.wh.x"), file(".wh.b"), file(".wh.never")}, "/ a/ a/y f l"},
		"an opaque directory":  {[]tar.Header{file("a/new"), file("a/.wh..wh..opq")}, "/ a/ a/new b/ b/z f l"},
		"through a link":       {[]tar.Header{file("l/new")}, "/ a/ a/x a/y b/ b/new b/z f l"},
		"a directory for it":   {[]tar.Header{dir("l"), file("l/new")}, "/ a/ a/x a/y b/ b/z f l/ l/new"},
		"a file for a dir":     {[]tar.Header{file("a")}, "/ a b/ b/z f l"},
		"a dir for a file":     {[]tar.Header{dir("f"), file("f/g")}, "/ a/ a/x a/y b/ b/z f/ f/g l"},
		"dots":                 {[]tar.Header{file("../../up"), file("./a/./in")}, "/ a/ a/in a/x a/y b/ b/z f l up"},
		"a hard link":          {[]tar.Header{{Name: "h", Typeflag: tar.TypeLink, Linkname: "./a/x"}}, "/ a/ a/x a/y b/ b/z f h l"},
		"a whiteout of a link": {[]tar.Header{file(".wh.l")}, "/ a/ a/x a/y b/ b/z f"},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree.New(0)
			for _, layer := range [][]tar.Header{lower, tc.upper} {
				if err := Apply(root, bytes.NewReader(tarOf(t, layer...)), &Digests{}); err != nil {
					t.Fatal(err)
				}
			}
			if got := paths(t, root); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
	for name, header := range map[string]tar.Header{
		"a link to nothing": {Name: "x", Typeflag: tar.TypeLink, Linkname: "nothing"},
		"a bad owner":       {Name: "x", Typeflag: tar.TypeDir, Uid: 1 << 33},
		"a tar of a type":   {Name: "x", Typeflag: 'Q'},
	} {
		if err := Apply(tree.New(0), bytes.NewReader(tarOf(t, header)), &Digests{}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// writeImage writes an image of one layer to a folder.
func writeImage(t testing.TB) (dir string, root *tree.Tree) {
	t.Helper()
	contents, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root = tree.New(77)
	root.Root.Inode.Mode = tree.TypeDir | 0o711
	for _, name := range []string{"etc/small", "usr/" + strings.Repeat("large", 100)[:200], "usr/other"} {
		c, size, err := contents.Put(strings.NewReader(strings.Repeat(name, len(name))))
		if err != nil {
			t.Fatal(err)
		}
		i := &tree.Inode{Mode: tree.TypeRegular | 0o4711, UID: 3, GID: 4, Mtime: 5, MtimeNsec: 6, Size: size, Content: c,
			Xattrs: map[string]string{"user.name": name, "security.capability": "\x00\xff"}}
		if err := root.Put(name, i); err != nil {
			t.Fatal(err)
		}
	}
	for name, i := range map[string]tree.Inode{
		"dev/block": {Mode: tree.TypeBlock | 0o600, Major: 8, Minor: 1},
		"dev/char":  {Mode: tree.TypeChar | 0o600, Major: 1, Minor: 3},
		"dev/fifo":  {Mode: tree.TypeFifo},
		"link":      {Mode: tree.TypeSymlink | 0o777, Target: "usr/ä"},
	} {
		if err := root.Put(name, &i); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.Link("usr/other", "usr/another"); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var layer bytes.Buffer
	diffID, err := WriteLayer(t.Context(), &layer, root, contents)
	if err != nil {
		t.Fatal(err)
	}
	image := Image{Arch: "amd64", Created: time.Unix(5, 0), Layers: []Layer{{Blob: NewBlob(layer.Bytes()), DiffID: diffID}}}
	config, err := image.Config()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest(NewBlob(config))
	if err != nil {
		t.Fatal(err)
	}
	index, err := image.Index(NewBlob(manifest), "latest")
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{layer.Bytes(), config, manifest} {
		put(BlobPath(NewBlob(data).SHA256), data)
	}
	put(IndexFile, index)
	return dir, root
}

func read(t testing.TB, dir string, contents Contents) (*tree.Tree, error) {
	t.Helper()
	image, err := Open(dir)
	if err != nil {
		return nil, err
	}
	root := tree.New(0)
	for n := range image.Manifest.Layers {
		if err := image.Layer(t.Context(), n, func(r io.Reader) error { return Apply(root, r, contents) }); err != nil {
			return nil, err
		}
	}
	return root, nil
}

func TestOpen(t *testing.T) {
	dir, want := writeImage(t)
	contents := &Digests{Keep: func(path string) bool { return strings.HasPrefix(path, "usr/") }}
	got, err := read(t, dir, contents)
	if err != nil {
		t.Fatal(err)
	}
	a, err := composefs.WriteImage(io.Discard, want)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := composefs.WriteImage(io.Discard, got); err != nil || a != b {
		t.Errorf("digest %x (%v), want %x", b, err, a)
	}
	for name, kept := range map[string]bool{"usr/other": true, "usr/another": true, "etc/small": false} {
		n, err := got.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := contents.Open(n.Inode.Content)
		if !kept {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is kept: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if data, err := io.ReadAll(r); err != nil || string(data) != strings.Repeat("usr/other", 9) {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

// TestOpenRefuses damages each file of a layout.
func TestOpenRefuses(t *testing.T) {
	dir, _ := writeImage(t)
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) != 4 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, path := range files {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{
			"cut":     whole[:len(whole)-1],
			"longer":  append(slices.Clone(whole), 'x'),
			"changed": append(slices.Clone(whole[:len(whole)/2]), append([]byte{whole[len(whole)/2] ^ 1}, whole[len(whole)/2+1:]...)...),
			"empty":   nil,
		} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := read(t, dir, &Digests{}); err == nil {
				t.Errorf("%s %s is accepted", filepath.Base(path), name)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzApply(f *testing.F) {
	f.Add(tarOf(f, tar.Header{Name: "a/", Typeflag: tar.TypeDir}, tar.Header{Name: "a/file"}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a"},
		tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "a/file"}, tar.Header{Name: "a/.wh.x"}, tar.Header{Name: "l/.wh..wh..opq"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		root := tree.New(0)
		if err := Apply(root, bytes.NewReader(data), &Digests{}); err != nil {
			return
		}
		_ = paths(t, root)
	})
}
