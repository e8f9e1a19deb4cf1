package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
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

func TestLookupAndResolve(t *testing.T) {
	tr := New(0)
	put(t, tr, "usr/lib/x", file(1))
	put(t, tr, "lib", link("usr/lib"))
	put(t, tr, "usr/lib/y", link("../../lib/x"))
	for name, lookup := range map[string]string{"": "", "/": "", "lib": "lib", "lib/x": "x", "lib/y": "y", "usr/lib/": "lib"} {
		if n, err := tr.Lookup(name); err != nil || n.Name != lookup {
			t.Errorf("looking up %q: %v, %v", name, n, err)
		}
	}
	for name, resolved := range map[string]string{"": "", "lib": "lib", "lib/y": "x"} {
		n, err := tr.Resolve(name)
		if err != nil || n.Name != resolved || n.Inode.IsSymlink() {
			t.Errorf("resolving %q: %v, %v", name, n, err)
		}
	}
	for _, name := range []string{"x", "lib/z", "lib/x/y", "x/y"} {
		if _, err := tr.Lookup(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("looking up %q: %v", name, err)
		}
		if _, err := tr.Resolve(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("resolving %q: %v", name, err)
		}
	}
	for _, name := range []string{"..", "lib/../x"} {
		if _, err := tr.Lookup(name); err == nil {
			t.Errorf("%q was looked up", name)
		}
		if _, err := tr.Resolve(name); err == nil {
			t.Errorf("%q was resolved", name)
		}
	}
}

func TestSymlinkThroughAFile(t *testing.T) {
	tr := New(0)
	put(t, tr, "f", file(1))
	put(t, tr, "s", link("f/../f"))
	put(t, tr, "dot", link("f/."))
	for _, name := range []string{"s", "dot"} {
		if _, err := tr.Resolve(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Forty symlinks may be followed, as in Linux, and a bomb of nested ones ends
// at once.
func TestManySymlinks(t *testing.T) {
	tr := New(0)
	put(t, tr, "l0", dir(0o755))
	for n := 1; n <= 41; n++ {
		put(t, tr, fmt.Sprintf("l%d", n), link(fmt.Sprintf("l%d", n-1)))
	}
	if _, err := tr.Resolve("l40"); err != nil {
		t.Error(err)
	}
	if _, err := tr.Resolve("l41"); !errors.Is(err, ErrSymlinkLoop) {
		t.Errorf("got %v", err)
	}
	put(t, tr, "b0", link("."))
	for n := 1; n <= 39; n++ {
		put(t, tr, fmt.Sprintf("b%d", n), link(fmt.Sprintf("b%d/b%d", n-1, n-1)))
	}
	start := time.Now()
	if _, err := tr.Resolve("b39"); !errors.Is(err, ErrSymlinkLoop) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestWalkSkipsAndStops(t *testing.T) {
	tr := New(0)
	put(t, tr, "a/x", file(1))
	put(t, tr, "b/y", file(1))
	put(t, tr, "c", file(1))
	var seen []string
	err := tr.Walk(func(path string, _ *Node) error {
		seen = append(seen, path)
		if path == "a" || path == "c" {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil || !slices.Equal(seen, []string{"", "a", "b", "b/y", "c"}) {
		t.Errorf("%q, %v", seen, err)
	}
	stop := errors.New("stop")
	if err := tr.Walk(func(path string, _ *Node) error {
		if path == "b/y" {
			return stop
		}
		return nil
	}); err != stop {
		t.Errorf("got %v", err)
	}
}

func TestTypes(t *testing.T) {
	for _, i := range []*Inode{file(0), dir(0), link("x"), {Mode: TypeFifo}, {Mode: TypeSocket}, {Mode: TypeBlock}, {Mode: TypeChar}} {
		if i.IsRegular() != (i.Type() == TypeRegular) || i.IsDir() != (i.Type() == TypeDir) || i.IsSymlink() != (i.Type() == TypeSymlink) {
			t.Errorf("mode %o", i.Mode)
		}
	}
}

// TestRandomChanges keeps the link counts right whatever happens.
func TestRandomChanges(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		name := func() string {
			s := ""
			for range 1 + r.IntN(3) {
				s += "/" + string(rune('a'+r.IntN(4)))
			}
			return s
		}
		tr := New(0)
		for range 100 {
			// Errors are part of the game: a file is in the way, a link leads nowhere.
			switch r.IntN(6) {
			case 0:
				_ = tr.Put(name(), dir(r.Uint32N(0o1000)))
			case 1:
				_ = tr.Put(name(), link(name()))
			case 2:
				_ = tr.Remove(name())
			case 3, 4:
				_ = tr.Link(name(), name())
			default:
				_ = tr.Put(name(), file(r.Int64N(100)))
			}
		}
		checkLinks(t, tr)
	}
}

func FuzzPut(f *testing.F) {
	for _, s := range []string{"/", "a/b", "./a", "a/../b", "s/x", "s/s/y", "a\xff"} {
		f.Add(s, "a")
		f.Add("s", s)
	}
	f.Fuzz(func(t *testing.T, name, target string) {
		tr := New(0)
		put(t, tr, "s", link(target))
		// Below "s" the link itself may have been replaced: s -> "." and "s/s".
		if tr.Put(name, file(3)) == nil && !strings.Contains(name, "s/") {
			if n, err := tr.Lookup(name); err != nil || n.Inode.Size != 3 {
				t.Errorf("%q was put and not found: %v", name, err)
			}
		}
		checkLinks(t, tr)
	})
}

func BenchmarkPut(b *testing.B) {
	for b.Loop() {
		tr := New(0)
		for n := range 10_000 {
			put(b, tr, fmt.Sprintf("/usr/share/%d/file%d", n%100, n), file(1))
		}
	}
}
