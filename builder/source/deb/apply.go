package deb

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Keep decides about an entry before it is laid into a tree. An error ends the
// work.
type Keep func(e Entry) (bool, error)

// Apply lays the package's entries into a tree as dpkg does: a directory, or a
// symlink to one, that is there already stays as it is; other things are
// replaced. A file in place of a directory is an error. keep may be nil, which
// keeps everything; a hard link to a file that is left out becomes a file.
func (p *Package) Apply(t *tree.Tree, keep Keep) error {
	files := map[string]*tree.Inode{}  // by path: what hard links refer to
	placed := map[*tree.Inode]string{} // where an inode is in the tree
	for i := range p.Entries {
		e := &p.Entries[i]
		inode := files[e.Link]
		if e.Link == "" {
			copied := e.Inode
			inode = &copied
		}
		if inode == nil {
			return fmt.Errorf("unpacking %q: no file %q to link to", e.Path, e.Link)
		}
		files[e.Path] = inode
		if keep != nil {
			ok, err := keep(*e)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
		}
		if err := apply(t, e.Path, inode, placed); err != nil {
			return fmt.Errorf("unpacking %q: %w", e.Path, err)
		}
	}
	return nil
}

func apply(t *tree.Tree, path string, inode *tree.Inode, placed map[*tree.Inode]string) error {
	if old, ok := placed[inode]; ok {
		return t.Link(old, path)
	}
	if inode.IsDir() || inode.IsSymlink() {
		n, err := t.Resolve(path)
		if err == nil && n.Inode.IsDir() {
			return nil
		}
	} else {
		n, err := t.Lookup(path)
		if err == nil && n.Inode.IsDir() {
			return errors.New("there is a directory of that name")
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		placed[inode] = path
	}
	return t.Put(path, inode)
}

// Stored tells whether the store has all contents.
func (p *Package) Stored(s *store.Store) bool {
	for i := range p.Entries {
		n := &p.Entries[i].Inode
		if n.IsRegular() && !s.Has(n.Content, n.Size) {
			return false
		}
	}
	return true
}
