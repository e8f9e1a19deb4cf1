// Package overlay reads the folder that a definition lays over its root.
//
// What a checkout of a repository does not carry is not taken from disk, so
// that the same commit gives the same root for every user and umask: files are
// owned by root, modes are 0755 for folders and executables and 0644 for other
// files, times are the build epoch. Symlinks are kept as they are. Other modes
// and owners are set by the definition's list of permissions.
package overlay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Entry is one file of an overlay. Path is slash-separated and relative.
type Entry struct {
	Path  string
	Inode tree.Inode
}

// Overlay is a folder's content in bytewise order of its paths, folders before
// what they hold. Times are zero until Apply sets them.
type Overlay []Entry

// Load reads the folder dir and puts its files' contents into s. An empty dir
// gives an empty overlay. Devices, sockets and fifos are errors of class Input.
func Load(ctx context.Context, dir string, s *store.Store) (Overlay, error) {
	if dir == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fault.Inputf("reading the overlay: %w", err)
	}
	defer root.Close()
	var o Overlay
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return unreadable(err)
		}
		if path == "." {
			return ctx.Err()
		}
		inode, err := load(root, path, d, s)
		if err != nil {
			return err
		}
		o = append(o, Entry{Path: path, Inode: inode})
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading the overlay %q: %w", dir, err)
	}
	return o, nil
}

func load(root *os.Root, path string, d fs.DirEntry, s *store.Store) (tree.Inode, error) {
	info, err := d.Info()
	if err != nil {
		return tree.Inode{}, err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return tree.Inode{Mode: tree.TypeDir | 0o755}, nil
	case fs.ModeSymlink:
		target, err := root.Readlink(path)
		return tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: target}, err
	case 0:
		return loadFile(root, path, info, s)
	}
	return tree.Inode{}, fault.Inputf("%q is neither a file, a folder nor a symlink", path).WithFix("remove it from the overlay")
}

func loadFile(root *os.Root, path string, info fs.FileInfo, s *store.Store) (tree.Inode, error) {
	f, err := root.Open(path)
	if err != nil {
		return tree.Inode{}, unreadable(err)
	}
	defer f.Close()
	content, size, err := s.Put(f)
	if err != nil {
		return tree.Inode{}, fmt.Errorf("storing %q: %w", path, err)
	}
	mode := uint32(tree.TypeRegular | 0o644)
	if info.Mode()&0o100 != 0 {
		mode = tree.TypeRegular | 0o755
	}
	return tree.Inode{Mode: mode, Size: size, Content: content}, nil
}

// unreadable tells who has to mend that a file can't be opened.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fault.Inputf("%w", err).WithFix("let the building user read it")
	}
	return err
}

// Apply lays the overlay over t; mtime is in seconds since 1970. A folder that
// the root has already keeps its own metadata.
func (o Overlay) Apply(t *tree.Tree, mtime int64) error {
	for _, e := range o {
		if e.Inode.IsDir() {
			if n, err := t.Resolve(e.Path); err == nil && n.Inode.IsDir() {
				continue
			}
		}
		inode := e.Inode
		inode.Mtime = mtime
		if err := t.Put(e.Path, &inode); err != nil {
			return fault.Inputf("laying the overlay over the root: %w", err)
		}
	}
	return nil
}

// Digest returns a SHA-256 over paths, modes, symlink targets and contents, in
// hex; it is what a plan says of an overlay.
func (o Overlay) Digest() string {
	sum := sha256.New()
	for _, e := range o {
		fmt.Fprintf(sum, "%q %o %q %x\n", filepath.ToSlash(e.Path), e.Inode.Mode, e.Inode.Target, e.Inode.Content.SHA256)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Copy writes the content of a file of the overlay to w.
func (e Entry) Copy(w io.Writer, s *store.Store) error {
	r, err := s.Open(e.Inode.Content)
	if err != nil {
		return fmt.Errorf("opening %q: %w", e.Path, err)
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("copying %q: %w", e.Path, err)
	}
	return nil
}
