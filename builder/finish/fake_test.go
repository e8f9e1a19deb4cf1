package finish

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

const epoch = 1_700_000_000 // day 19675

// files are a tree's: a name that ends in "/" is a directory, a text that begins
// with "->" a symlink.
type files map[string]string

func newTree(t testing.TB, f files) *root {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &root{tree: tree.New(1), store: s, mtime: epoch}
	for _, name := range sortedKeys(f) {
		target, isLink := strings.CutPrefix(f[name], "->")
		switch {
		case strings.HasSuffix(name, "/"):
			err = r.makeDir(strings.TrimSuffix(name, "/"), owned{mode: 0o755})
		case isLink:
			err = r.link(name, target)
		default:
			err = r.write(name, []byte(f[name]), owned{mode: 0o644})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func input(t testing.TB) Input {
	t.Helper()
	a, err := arch.Lookup("amd64")
	if err != nil {
		t.Fatal(err)
	}
	return Input{Arch: a, Hostname: "demo", Epoch: epoch}
}

// text returns a file's content, or "->" and a symlink's target, or "" when
// there is nothing.
func text(t testing.TB, r *root, name string) string {
	t.Helper()
	n, err := r.tree.Lookup(name)
	switch {
	case err != nil:
		return ""
	case n.Inode.IsSymlink():
		return "->" + n.Inode.Target
	}
	data, err := r.content(name, n.Inode)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func expect(t testing.TB, r *root, want files) {
	t.Helper()
	for _, name := range sortedKeys(want) {
		if got := text(t, r, name); got != want[name] {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, want[name])
		}
	}
}

// mode returns mode, user and group as "0640 0 42".
func mode(t testing.TB, r *root, name string) string {
	t.Helper()
	n, err := r.tree.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%04o %d %d", n.Inode.Mode&^tree.TypeMask, n.Inode.UID, n.Inode.GID)
}

// links lists the symlinks below a directory as "name -> target".
func links(t testing.TB, r *root, dir string) []string {
	t.Helper()
	n, err := r.tree.Resolve(dir)
	if err != nil {
		return nil
	}
	var out []string
	var visit func(string, *tree.Node)
	visit = func(at string, n *tree.Node) {
		for _, c := range n.Children() {
			if c.Inode.IsSymlink() {
				out = append(out, path.Join(at, c.Name)+" -> "+c.Inode.Target)
			}
			visit(path.Join(at, c.Name), c)
		}
	}
	visit("", n)
	slices.Sort(out)
	return out
}
