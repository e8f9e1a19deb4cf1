package bench

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Trash takes what earlier runs left, and keeps its inodes until it is emptied.
// For minutes after files were deleted, ext4 passes over their inodes one by one
// whenever a file is made nearby (recently_deleted in fs/ext4/ialloc.c): the next
// run would be slowed down by how much was deleted before it.
type Trash struct {
	// Dir is on the file system of what is put into it.
	Dir string
	n   int
}

// Put takes a file or folder away, if it is there, and frees the space of its
// files.
func (t *Trash) Put(path string) error {
	if err := os.MkdirAll(t.Dir, 0o700); err != nil {
		return err
	}
	t.n++
	to := filepath.Join(t.Dir, strconv.Itoa(t.n))
	if err := os.Rename(path, to); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return filepath.WalkDir(to, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return os.Truncate(name, 0)
	})
}

// Empty deletes all.
func (t *Trash) Empty() error { return os.RemoveAll(t.Dir) }
