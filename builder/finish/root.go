package finish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

// maxText bounds a file that a step reads into memory, in bytes.
const maxText = 16 << 20

// root is the tree that steps work on.
type root struct {
	tree  *tree.Tree
	store Store
	mtime int64
}

// has tells whether a path leads to something, through any symlinks.
func (r *root) has(name string) bool {
	_, err := r.tree.Resolve(name)
	return err == nil
}

// named tells whether there is an entry of that name, even a dangling symlink.
func (r *root) named(name string) bool {
	_, err := r.tree.Lookup(name)
	return err == nil
}

// read returns a file's bytes. A missing file is an error that matches
// fs.ErrNotExist.
func (r *root) read(name string) ([]byte, error) {
	n, err := r.tree.Resolve(name)
	if err != nil {
		return nil, err
	}
	if !n.Inode.IsRegular() {
		return nil, fmt.Errorf("reading %q: not a file", name)
	}
	if n.Inode.Size > maxText {
		return nil, fmt.Errorf("reading %q: larger than %d bytes", name, maxText)
	}
	return r.content(name, n.Inode)
}

func (r *root) content(name string, inode *tree.Inode) ([]byte, error) {
	f, err := r.store.Open(inode.Content)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	return data, nil
}

// lines returns a file's lines, none when the file is missing.
func (r *root) lines(name string) ([]string, error) {
	data, err := r.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text := strings.TrimSuffix(string(data), "\n")
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// list returns the names of the non-directories in a directory that end in
// suffix, in bytewise order; none when there is no such directory.
func (r *root) list(dir, suffix string) []string {
	n, err := r.tree.Resolve(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, c := range n.Children() {
		if strings.HasSuffix(c.Name, suffix) && !c.Inode.IsDir() {
			names = append(names, c.Name)
		}
	}
	return names
}

// owned is a file's mode and owner.
type owned struct{ mode, uid, gid uint32 }

func (r *root) write(name string, data []byte, o owned) error {
	c, size, err := r.store.Put(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return r.tree.Put(name, &tree.Inode{
		Mode: tree.TypeRegular | o.mode, UID: o.uid, GID: o.gid, Mtime: r.mtime, Size: size, Content: c,
	})
}

// writeNew writes a file unless there is one.
func (r *root) writeNew(name string, data string) error {
	if r.named(name) {
		return nil
	}
	return r.write(name, []byte(data), owned{mode: 0o644})
}

// makeDir makes a directory unless there is one.
func (r *root) makeDir(name string, o owned) error {
	if r.named(name) {
		return nil
	}
	return r.tree.Put(name, &tree.Inode{Mode: tree.TypeDir | o.mode, UID: o.uid, GID: o.gid, Mtime: r.mtime})
}

// link makes a symlink unless there is something of that name.
func (r *root) link(name, target string) error {
	if r.named(name) {
		return nil
	}
	return r.tree.Put(name, &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: target, Mtime: r.mtime})
}

// find returns the first of the directories that holds name, as a path.
func (r *root) find(name string, dirs ...string) (string, bool) {
	for _, dir := range dirs {
		if p := path.Join(dir, name); r.named(p) {
			return p, true
		}
	}
	return "", false
}

// merged returns the files of several directories that end in suffix, by name;
// a name in an earlier directory hides the same one in later ones, and a link
// to /dev/null hides it altogether, as all of systemd's drop-in directories do.
func (r *root) merged(suffix string, dirs ...string) []string {
	byName := map[string]string{}
	for _, dir := range dirs {
		for _, name := range r.list(dir, suffix) {
			if _, hidden := byName[name]; !hidden {
				byName[name] = path.Join(dir, name)
			}
		}
	}
	var paths []string
	for _, name := range sortedKeys(byName) {
		n, err := r.tree.Lookup(byName[name])
		if err == nil && (!n.Inode.IsSymlink() || n.Inode.Target != "/dev/null") {
			paths = append(paths, byName[name])
		}
	}
	return paths
}
