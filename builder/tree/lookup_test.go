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
