package tree

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func file(size int64) *Inode    { return &Inode{Mode: TypeRegular | 0o644, Size: size, Mtime: 7} }
func dir(perm uint32) *Inode    { return &Inode{Mode: TypeDir | perm, Mtime: 8} }
func link(target string) *Inode { return &Inode{Mode: TypeSymlink | 0o777, Target: target} }

func put(t testing.TB, tr *Tree, name string, i *Inode) {
	t.Helper()
	if err := tr.Put(name, i); err != nil {
		t.Fatal(err)
	}
}

// list returns all paths, each followed by what it is.
func list(t testing.TB, tr *Tree) []string {
	t.Helper()
	var all []string
	err := tr.Walk(func(path string, n *Node) error {
		if n.Name != path[strings.LastIndexByte(path, '/')+1:] {
			t.Errorf("the node at %q is named %q", path, n.Name)
		}
		if got := tr.PathOf(n); got != path {
			t.Errorf("the node at %q says it is at %q", path, got)
		}
		for _, c := range n.Children() {
			if n.Child(c.Name) != c {
				t.Errorf("%q doesn't find its entry %q", path, c.Name)
			}
		}
		if path != "" {
			all = append(all, path+map[uint32]string{TypeDir: "/", TypeSymlink: " -> " + n.Inode.Target}[n.Inode.Type()])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func want(t testing.TB, tr *Tree, paths ...string) {
	t.Helper()
	if got := list(t, tr); !slices.Equal(got, paths) {
		t.Errorf("the tree holds %q, want %q", got, paths)
	}
	checkLinks(t, tr)
}

// checkLinks compares every inode's link count with the names it has.
func checkLinks(t testing.TB, tr *Tree) {
	t.Helper()
	names := map[*Inode]int{}
	_ = tr.Walk(func(_ string, n *Node) error { names[n.Inode]++; return nil })
	for i, n := range names {
		if i.Links() != n {
			t.Errorf("an inode of mode %o has %d names and a link count of %d", i.Mode, n, i.Links())
		}
	}
}

func TestNew(t *testing.T) {
	tr := New(42)
	if r := tr.Root.Inode; !r.IsDir() || r.Mode != TypeDir|0o755 || r.Mtime != 42 || r.Links() != 1 {
		t.Errorf("the root is %+v", r)
	}
	want(t, tr)
}

func TestPutMakesParents(t *testing.T) {
	tr := New(0)
	put(t, tr, "/a/b/c", file(1))
	put(t, tr, "./a/d", file(1))
	put(t, tr, "e/", dir(0o700))
	want(t, tr, "a/", "a/b/", "a/b/c", "a/d", "e/")
	n, err := tr.Lookup("a/b")
	if err != nil || n.Inode.Mode != TypeDir|0o755 || n.Inode.Mtime != 7 {
		t.Errorf("%+v, %v", n.Inode, err)
	}
}

func TestEntriesAreSortedBytewise(t *testing.T) {
	tr := New(0)
	for _, name := range []string{"b", "a", "\xff", "a.b", "B", "é"} {
		put(t, tr, name, file(0))
	}
	want(t, tr, "B", "a", "a.b", "b", "é", "\xff")
}

func TestPutReplaces(t *testing.T) {
	tr := New(0)
	put(t, tr, "a", file(1))
	put(t, tr, "a", file(2))
	if n, _ := tr.Lookup("a"); n.Inode.Size != 2 {
		t.Errorf("size %d", n.Inode.Size)
	}
	put(t, tr, "d/x", file(1))
	put(t, tr, "d/y", file(1))
	put(t, tr, "d", file(3))
	want(t, tr, "a", "d")
	put(t, tr, "d", dir(0o700))
	want(t, tr, "a", "d/")
}

func TestPutDirectoryOverDirectory(t *testing.T) {
	tr := New(0)
	put(t, tr, "d/x", file(1))
	put(t, tr, "d", dir(0o1777))
	want(t, tr, "d/", "d/x")
	if n, _ := tr.Lookup("d"); n.Inode.Mode != TypeDir|0o1777 || n.Inode.Mtime != 8 {
		t.Errorf("the directory is %+v", n.Inode)
	}
}

func TestPutRoot(t *testing.T) {
	tr := New(0)
	put(t, tr, "x", file(0))
	for _, name := range []string{"/", "", ".", "./"} {
		put(t, tr, name, dir(0o711))
	}
	if tr.Root.Inode.Mode != TypeDir|0o711 {
		t.Errorf("mode %o", tr.Root.Inode.Mode)
	}
	want(t, tr, "x")
	if err := tr.Put("/", file(0)); err == nil {
		t.Error("a file became the root")
	}
}

func TestPutThroughSymlinks(t *testing.T) {
	for _, target := range []string{"usr/bin", "/usr/bin", "./usr/../usr/bin", "../../usr/bin", "hop", "/usr/bin/"} {
		tr := New(0)
		put(t, tr, "usr/bin", dir(0o755))
		put(t, tr, "hop", link("/usr/bin"))
		put(t, tr, "bin", link(target))
		put(t, tr, "bin/sh", file(1))
		put(t, tr, "bin", dir(0o711))
		want(t, tr, "bin -> "+target, "hop -> /usr/bin", "usr/", "usr/bin/", "usr/bin/sh")
		if n, _ := tr.Lookup("usr/bin"); n.Inode.Mode != TypeDir|0o711 {
			t.Errorf("%s: the directory's mode is %o", target, n.Inode.Mode)
		}
	}
}

func TestPutOverASymlink(t *testing.T) {
	tr := New(0)
	put(t, tr, "d", dir(0o755))
	put(t, tr, "toDir", link("d"))
	put(t, tr, "toFile", link("f"))
	put(t, tr, "f", file(1))
	put(t, tr, "nowhere", link("x"))
	put(t, tr, "toDir", file(1))
	put(t, tr, "toFile", dir(0o755))
	put(t, tr, "nowhere", dir(0o755))
	want(t, tr, "d/", "f", "nowhere/", "toDir", "toFile/")
}

func TestPutErrors(t *testing.T) {
	tr := New(0)
	put(t, tr, "f", file(1))
	put(t, tr, "nowhere", link("x"))
	put(t, tr, "loop", link("loop"))
	put(t, tr, "tofile", link("f"))
	for _, name := range []string{"..", "../x", "a/../b", "a/./b", "a//b", "//a", "a/..", "a\x00b", strings.Repeat("x", 256),
		"f/x", "f/x/y", "tofile/x", "nowhere/x", "loop/x"} {
		if err := tr.Put(name, file(1)); err == nil {
			t.Errorf("%q was put", name)
		}
	}
	if err := tr.Put("loop/x", file(1)); !errors.Is(err, ErrSymlinkLoop) {
		t.Errorf("below a loop: %v", err)
	}
	want(t, tr, "f", "loop -> loop", "nowhere -> x", "tofile -> f")
}

// Symbolic links to deep directories don't make paths that no kernel can open.
func TestPathsAreBounded(t *testing.T) {
	tr := New(0)
	deep := strings.Repeat("d/", 1000)
	put(t, tr, deep+"d", dir(0o755))
	put(t, tr, "link", link(deep))
	put(t, tr, "link/"+deep+"end", file(1))
	put(t, tr, "twice", link("link/"+deep))
	if err := tr.Put("twice/"+strings.Repeat("x", 94), file(1)); err != nil {
		t.Errorf("a path of 4095 bytes: %v", err)
	}
	if err := tr.Put("twice/"+strings.Repeat("x", 96), file(1)); err == nil || !strings.Contains(err.Error(), "its path is 4096 bytes long, more than 4095") {
		t.Errorf("a path of 4096 bytes: %v", err)
	}
}

func TestLink(t *testing.T) {
	tr := New(0)
	put(t, tr, "a", file(1))
	put(t, tr, "s", link("a"))
	for _, l := range [][2]string{{"a", "b"}, {"b", "d/c"}, {"a", "a"}, {"a", "b"}, {"s", "s2"}} {
		if err := tr.Link(l[0], l[1]); err != nil {
			t.Fatal(err)
		}
	}
	want(t, tr, "a", "b", "d/", "d/c", "s -> a", "s2 -> a")
	n, _ := tr.Lookup("d/c")
	if n.Inode.Links() != 3 {
		t.Errorf("%d links", n.Inode.Links())
	}
	for _, l := range [][2]string{{"none", "x"}, {"d", "x"}, {"a", "../x"}, {"..", "x"}, {"/", "x"}} {
		if err := tr.Link(l[0], l[1]); err == nil {
			t.Errorf("%q was linked to %q", l[1], l[0])
		}
	}
	if err := tr.Link("none", "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestRemove(t *testing.T) {
	tr := New(0)
	put(t, tr, "a/b/c", file(1))
	put(t, tr, "a/d", file(1))
	if err := tr.Link("a/d", "a/b/e"); err != nil {
		t.Fatal(err)
	}
	put(t, tr, "s", link("a"))
	if err := tr.Remove("s/b"); err != nil {
		t.Fatal(err)
	}
	want(t, tr, "a/", "a/d", "s -> a")
	if err := tr.Remove("/s"); err != nil {
		t.Fatal(err)
	}
	want(t, tr, "a/", "a/d")
	for name, cause := range map[string]error{"x": fs.ErrNotExist, "x/y": fs.ErrNotExist, "a/d/x": fs.ErrNotExist,
		"": fs.ErrInvalid, "/": fs.ErrInvalid, "..": fs.ErrInvalid} {
		if err := tr.Remove(name); !errors.Is(err, cause) {
			t.Errorf("%q: got %v, want %v", name, err, cause)
		}
	}
}
