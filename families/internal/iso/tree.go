package iso

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

const (
	// maxDepth is the number of levels of directories, the root's among them
	// (ECMA-119, 6.8.2.1).
	maxDepth = 8
	// maxName is the longest name in bytes that Linux takes.
	maxName = 255
	// maxTarget is the longest target of a symbolic link in bytes that libisofs
	// reads; Linux takes more.
	maxTarget = 1023
	// maxSection is the largest extent of a file in bytes: whole sectors, and
	// a number of 32 bits.
	maxSection = 1<<32 - SectorSize
)

// node is a file or directory of the volume.
type node struct {
	entry    Entry
	name     string
	parent   *node // the root's is itself
	children []*node
	start    int64 // regular files: first sector
}

func (n *node) isDir() bool { return n.entry.Mode.IsDir() }

// links returns the number of names of a file: a directory has one in its
// parent, one in itself, and one in each directory that it holds.
func (n *node) links() uint32 {
	if !n.isDir() {
		return 1
	}
	links := uint32(2)
	for _, c := range n.children {
		if c.isDir() {
			links++
		}
	}
	return links
}

// sections returns the extents of a file as pairs of a sector and a size.
func (n *node) sections() []section {
	if n.entry.Size == 0 {
		return []section{{start: n.start}}
	}
	var out []section
	for done := int64(0); done < n.entry.Size; done += maxSection {
		out = append(out, section{n.start + done/SectorSize, min(n.entry.Size-done, maxSection)})
	}
	return out
}

type section struct{ start, size int64 }

// files returns the regular files in the order of their paths.
func (n *node) files() []*node {
	if n.entry.Mode.IsRegular() {
		return []*node{n}
	}
	var out []*node
	for _, c := range n.children {
		out = append(out, c.files()...)
	}
	return out
}

// buildTree sorts the entries into a tree.
func buildTree(entries []Entry) (*node, error) {
	root := &node{entry: Entry{Mode: fs.ModeDir | 0o555}}
	root.parent = root
	entries = slices.Clone(entries)
	// A directory comes before what it holds.
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	for _, e := range entries {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("adding %q: %w", e.Path, err)
		}
		if err := root.add(e); err != nil {
			return nil, fmt.Errorf("adding %q: %w", e.Path, err)
		}
	}
	root.sort()
	return root, nil
}

func (e Entry) check() error {
	if e.Mode&^(fs.ModePerm|fs.ModeDir|fs.ModeSymlink) != 0 {
		return fmt.Errorf("mode %v is not of a file, directory or symbolic link", e.Mode)
	}
	if e.Size < 0 || e.Size > 0 && !e.Mode.IsRegular() {
		return fmt.Errorf("the size is %d bytes", e.Size)
	}
	if e.Mode&fs.ModeSymlink != 0 {
		return checkTarget(e.Target)
	}
	return nil
}

// checkTarget refuses what Rock Ridge, which keeps a target's elements, would
// change.
func checkTarget(target string) error {
	if len(target) == 0 || len(target) > maxTarget || strings.ContainsRune(target, 0) {
		return fmt.Errorf("a link to %.40q: the target must have 1 to %d bytes, none of them NUL", target, maxTarget)
	}
	if elems := strings.TrimPrefix(target, "/"); elems != "" && slices.Contains(strings.Split(elems, "/"), "") {
		return fmt.Errorf("a link to %.40q: the target has an empty element", target)
	}
	return nil
}

func (n *node) add(e Entry) error {
	elems := strings.Split(e.Path, "/")
	if len(elems) > maxDepth {
		return fmt.Errorf("deeper than %d levels", maxDepth)
	}
	for i, elem := range elems {
		if elem == "" || elem == "." || elem == ".." || len(elem) > maxName || strings.ContainsRune(elem, 0) {
			return fmt.Errorf("the element %.40q is not allowed", elem)
		}
		last := i == len(elems)-1
		next := n.child(elem)
		switch {
		case next != nil && last:
			return errors.New("the path is there twice")
		case next != nil && !next.isDir():
			return fmt.Errorf("%q is not a directory", elem)
		case next == nil:
			next = &node{name: elem, parent: n, entry: Entry{Mode: fs.ModeDir | 0o555}}
			if last {
				next.entry = e
			}
			n.children = append(n.children, next)
		}
		n = next
	}
	if n.isDir() && len(elems) == maxDepth {
		return fmt.Errorf("deeper than %d levels", maxDepth)
	}
	return nil
}

// child looks for a name among those that were added last first, where an
// ordered list of paths finds it.
func (n *node) child(name string) *node {
	for _, c := range slices.Backward(n.children) {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (n *node) sort() {
	slices.SortFunc(n.children, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	for _, c := range n.children {
		c.sort()
	}
}
