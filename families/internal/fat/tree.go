package fat

import (
	"fmt"
	"slices"
	"strings"
)

// node is a directory or a file.
type node struct {
	name    string
	short   [11]byte
	file    File // of a file
	cluster uint32

	isDir    bool
	label    bool  // the directory begins with the volume label
	parent   *node // of a directory; nil for the root
	children []*node
	byFold   map[string]*node // by case-folded name
}

func newDir(name string, parent *node) *node {
	return &node{name: name, isDir: true, parent: parent, byFold: map[string]*node{}}
}

// buildTree makes directories of the paths. Children are sorted by name, which
// makes the layout independent of the order of files.
func buildTree(files []File) (*node, error) {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	root := newDir("", nil)
	for _, f := range sorted {
		if err := checkFile(f); err != nil {
			return nil, err
		}
		if err := root.insert(f); err != nil {
			return nil, fmt.Errorf("adding %q: %w", f.Path, err)
		}
	}
	return root, nil
}

func (n *node) insert(f File) error {
	dir := n
	rest := f.Path
	for {
		name, after, more := strings.Cut(rest, "/")
		if err := checkName(name); err != nil {
			return err
		}
		old := dir.byFold[fold(name)]
		switch {
		case old != nil && old.name != name:
			return fmt.Errorf("%q and %q are the same name on FAT, which ignores case", name, old.name)
		case old != nil && more && old.isDir:
			dir, rest = old, after
			continue
		case old != nil:
			return fmt.Errorf("there is %q already", old.name)
		}
		child := &node{name: name, file: f}
		if more {
			child = newDir(name, dir)
		}
		dir.byFold[fold(name)] = child
		dir.children = append(dir.children, child)
		if !more {
			return nil
		}
		dir, rest = child, after
	}
}

// walk returns the directories, parents first, and the files, in order.
func (n *node) walk() (dirs, leaves []*node) {
	dirs = []*node{n}
	for i := 0; i < len(dirs); i++ {
		d := dirs[i]
		slices.SortFunc(d.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
		for _, c := range d.children {
			if c.isDir {
				dirs = append(dirs, c)
			} else {
				leaves = append(leaves, c)
			}
		}
	}
	return dirs, leaves
}

// entries returns the number of 32-byte entries of a directory. An empty one
// (the root without files and label) has one free entry, for its cluster.
func (n *node) entries() int64 {
	count := int64(0)
	if n.parent != nil {
		count += 2 // "." and ".."
	}
	if n.label {
		count++
	}
	for _, c := range n.children {
		count += 1 + longEntries(c)
	}
	return max(count, 1)
}
