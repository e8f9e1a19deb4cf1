package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// maxSymlinks bounds symlink resolution, as the kernel's MAXSYMLINKS does.
const maxSymlinks = 40

// maxPath bounds the path of a file, in bytes: the kernel's PATH_MAX less its
// NUL byte. Symbolic links in archives could otherwise nest directories without
// an end.
const maxPath = 4095

// ErrSymlinkLoop is returned when a path goes through too many symlinks.
var ErrSymlinkLoop = errors.New("too many symbolic links")

// Tree is a file tree. Its zero value is not usable; call New.
type Tree struct {
	Root *Node
}

// New returns a tree that holds nothing but its root directory, mode 0755,
// owned by root, with the given modification time in seconds.
func New(mtime int64) *Tree {
	root := &Node{Inode: &Inode{Mode: TypeDir | 0o755, Mtime: mtime}}
	root.Inode.linkNumber = 1
	root.parent = root
	return &Tree{Root: root}
}

// Put adds inode under a slash-separated path, replacing what is there.
//
// Symbolic links in the parent directories are followed within the tree.
// Missing parents are made with mode 0755, owned by root, with the inode's own
// modification time. A directory put over a directory, or over a symlink to
// one, keeps the existing entries (and the symlink) and takes the new
// metadata; anything else replaces the entry. A path that leaves the tree
// ("..", "." or empty elements) is an error, and so is one that is longer than
// the kernel takes.
func (t *Tree) Put(name string, inode *Inode) error {
	clean, err := cleanPath(name)
	if err != nil {
		return err
	}
	if clean == "" {
		return t.putRoot(inode)
	}
	dir, base := path.Split(clean)
	parent, err := t.makeDirs(strings.TrimSuffix(dir, "/"), inode)
	if err != nil {
		return fmt.Errorf("putting %q: %w", name, err)
	}
	if inode.IsDir() {
		if existing, err := t.resolve(parent, base); err == nil && existing.Inode.IsDir() {
			links := existing.Inode.linkNumber
			*existing.Inode = *inode
			existing.Inode.linkNumber = links
			return nil
		}
	}
	if length := parent.pathLength() + len("/") + len(base); length > maxPath {
		return fmt.Errorf("putting %.40q: its path is %d bytes long, more than %d", name, length, maxPath)
	}
	parent.set(&Node{Name: base, Inode: inode})
	return nil
}

// Link makes newName a hard link to oldName, which must exist and not be a
// directory.
func (t *Tree) Link(oldName, newName string) error {
	old, err := t.Lookup(oldName)
	if err != nil {
		return fmt.Errorf("linking %q: %w", newName, err)
	}
	if old.Inode.IsDir() {
		return fmt.Errorf("linking %q to %q: a directory can't be hard-linked", newName, oldName)
	}
	if n, err := t.Lookup(newName); err == nil && n.Inode == old.Inode {
		return nil
	}
	return t.Put(newName, old.Inode)
}

// Remove deletes a path and everything below it; a missing path is an error
// that matches fs.ErrNotExist.
func (t *Tree) Remove(name string) error {
	clean, err := cleanPath(name)
	if err != nil || clean == "" {
		return fmt.Errorf("removing %q: %w", name, fs.ErrInvalid)
	}
	dir, base := path.Split(clean)
	parent, err := t.Resolve(dir)
	if err != nil {
		return fmt.Errorf("removing %q: %w", name, err)
	}
	if !parent.remove(base) {
		return fmt.Errorf("removing %q: %w", name, fs.ErrNotExist)
	}
	return nil
}

func (t *Tree) putRoot(inode *Inode) error {
	if !inode.IsDir() {
		return errors.New("putting the root: it must be a directory")
	}
	*t.Root.Inode = *inode
	t.Root.Inode.linkNumber = 1
	return nil
}

// makeDirs returns the directory at dir, making what is missing.
func (t *Tree) makeDirs(dir string, like *Inode) (*Node, error) {
	at := t.Root
	if dir == "" {
		return at, nil
	}
	elems := strings.Split(dir, "/")
	for i, elem := range elems {
		next, err := t.resolve(at, elem)
		if errors.Is(err, fs.ErrNotExist) && at.Child(elem) == nil {
			next = &Node{Name: elem, Inode: &Inode{Mode: TypeDir | 0o755, Mtime: like.Mtime, MtimeNsec: like.MtimeNsec}}
			at.set(next)
		} else if err != nil {
			return nil, fmt.Errorf("following the symbolic link %q: %w", strings.Join(elems[:i+1], "/"), err)
		}
		if !next.Inode.IsDir() {
			return nil, fmt.Errorf("%q is not a directory", strings.Join(elems[:i+1], "/"))
		}
		at = next
	}
	return at, nil
}

// cleanPath returns name without leading "./" or "/" and trailing "/"; the
// root is "".
func cleanPath(name string) (string, error) {
	s := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	s = strings.TrimPrefix(s, "/")
	if s == "" || s == "." {
		return "", nil
	}
	for _, elem := range strings.Split(s, "/") {
		switch {
		case elem == "" || elem == "." || elem == "..":
			return "", fmt.Errorf("path %q: element %q is not allowed", name, elem)
		case len(elem) > 255:
			return "", fmt.Errorf("path %q: an element is longer than 255 bytes", name)
		case strings.ContainsRune(elem, 0):
			return "", fmt.Errorf("path %q: NUL byte", name)
		}
	}
	return s, nil
}
