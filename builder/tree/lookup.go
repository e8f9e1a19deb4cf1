package tree

import (
	"fmt"
	"io/fs"
	"strings"
)

// Lookup returns the node at a path, following symlinks in its parents but not
// in its last element. A missing path is an error that matches fs.ErrNotExist.
func (t *Tree) Lookup(name string) (*Node, error) {
	clean, err := cleanPath(name)
	if err != nil {
		return nil, err
	}
	parent, base := t.Root, clean
	if i := strings.LastIndexByte(clean, '/'); i >= 0 {
		if parent, err = t.resolve(t.Root, clean[:i]); err != nil {
			return nil, fmt.Errorf("looking up %q: %w", name, err)
		}
		base = clean[i+1:]
	}
	if base == "" {
		return parent, nil
	}
	if c := parent.Child(base); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("looking up %q: %w", name, fs.ErrNotExist)
}

// Resolve returns the node at a path, following every symlink within the tree.
func (t *Tree) Resolve(name string) (*Node, error) {
	clean, err := cleanPath(name)
	if err != nil {
		return nil, err
	}
	n, err := t.resolve(t.Root, clean)
	if err != nil {
		return nil, fmt.Errorf("resolving %q: %w", name, err)
	}
	return n, nil
}

// resolve walks rel, which may hold "." and "..", from the directory at. An
// absolute symlink starts again at the tree's root, and ".." never leaves it.
// Symlinks are counted over the whole walk, as the kernel does: nested ones
// could otherwise take exponential time.
func (t *Tree) resolve(at *Node, rel string) (*Node, error) {
	followed := 0
	for rest := strings.Split(rel, "/"); len(rest) > 0; {
		elem := rest[0]
		rest = rest[1:]
		if elem == "" {
			continue
		}
		if !at.Inode.IsDir() {
			return nil, fs.ErrNotExist
		}
		if elem == "." {
			continue
		}
		if elem == ".." {
			at = at.parent
			continue
		}
		next := at.Child(elem)
		if next == nil {
			return nil, fs.ErrNotExist
		}
		if !next.Inode.IsSymlink() {
			at = next
			continue
		}
		if followed++; followed > maxSymlinks {
			return nil, ErrSymlinkLoop
		}
		if strings.HasPrefix(next.Inode.Target, "/") {
			at = t.Root
		}
		rest = append(strings.Split(next.Inode.Target, "/"), rest...)
	}
	return at, nil
}

// WalkFunc is called for every node with its slash-separated path; the root's
// is "". Returning fs.SkipDir from a directory skips what it holds.
type WalkFunc func(path string, n *Node) error

// Walk visits the tree depth first, each directory before its entries, entries
// in bytewise order.
func (t *Tree) Walk(fn WalkFunc) error { return walk("", t.Root, fn) }

func walk(p string, n *Node, fn WalkFunc) error {
	err := fn(p, n)
	if err == fs.SkipDir {
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range n.children {
		child := c.Name
		if p != "" {
			child = p + "/" + c.Name
		}
		if err := walk(child, c, fn); err != nil {
			return err
		}
	}
	return nil
}

// PathOf returns the slash-separated path of a node; the root's is "".
func (t *Tree) PathOf(n *Node) string {
	if n == t.Root {
		return ""
	}
	path := n.Name
	for n = n.parent; n != t.Root; n = n.parent {
		path = n.Name + "/" + path
	}
	return path
}
