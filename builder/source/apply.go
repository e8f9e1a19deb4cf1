package source

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/powernode/bootsmith/builder/tree"
)

// Replace says what an entry may take the place of.
type Replace bool

const (
	// Files lets entries replace files and links: what unpacking an archive
	// into a folder does. A file in place of a directory is an error.
	Files Replace = false
	// Everything lets a file replace a directory with all that it holds: what
	// the layers of a container image do.
	Everything Replace = true
)

// Put lays an entry into a tree as tar unpacks it. Symbolic links in the path's
// parents are followed within the tree and can't leave it; one in the place of
// a directory is replaced by the directory. A hard link's target must be there.
func Put(t *tree.Tree, e Entry, replace Replace) error {
	if err := put(t, e, replace); err != nil {
		return fmt.Errorf("unpacking %.100q: %w", e.Path, err)
	}
	return nil
}

func put(t *tree.Tree, e Entry, replace Replace) error {
	old, err := t.Lookup(e.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && old.Inode.IsDir() && (e.Link != "" || !e.Inode.IsDir()) && replace == Files {
		return errors.New("there is a directory of that name")
	}
	if e.Link != "" {
		return t.Link(e.Link, e.Path)
	}
	if e.Inode.IsDir() && err == nil && !old.Inode.IsDir() {
		if err := t.Remove(e.Path); err != nil {
			return err
		}
	}
	inode := e.Inode
	return t.Put(e.Path, &inode)
}

// Clamp sets modification times later than epoch (seconds since 1970) to epoch:
// files made during a build, or by a checkout, then look the same every time.
func Clamp(t *tree.Tree, epoch int64) {
	_ = t.Walk(func(_ string, n *tree.Node) error { // the callback never fails
		clamp(n.Inode, epoch)
		return nil
	})
}

func clamp(n *tree.Inode, epoch int64) {
	if n.Mtime > epoch || n.Mtime == epoch && n.MtimeNsec > 0 {
		n.Mtime, n.MtimeNsec = epoch, 0
	}
}
