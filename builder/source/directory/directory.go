// Package directory reads a root from a folder of the build host.
//
// Modes, hard links, symbolic links, devices and times are taken as they are;
// times later than the build epoch become the epoch, since a checkout or an
// unpacked archive gives files the time of day. Of the extended attributes
// those are taken that mean the same on every machine: user.*, POSIX access
// control lists and security.capability. Security labels are the host's own.
//
// Owners: what belongs to the building user or its group belongs to root in the
// tree, so that an ordinary user can prepare a root; rules set other owners.
package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Owner is a rule: Path, and what is below it, belongs to UID and GID. Of
// several rules the last that fits decides.
type Owner struct {
	Path     string // in the root
	UID, GID uint32
}

// Source is a folder.
type Source struct {
	Path string
	// UID and GID are the building user's: they become root.
	UID, GID uint32
	Owners   []Owner
	Limits   source.Limits
}

// Pin returns a digest of the folder's content, "sha256:<hex>".
func (d Source) Pin(ctx context.Context, s *store.Store, epoch int64) (string, error) {
	t, err := d.Load(ctx, s, epoch)
	if err != nil {
		return "", err
	}
	return "sha256:" + source.Digest(t), nil
}

// Read reads the folder, which must still have the digest that Pin returned.
func (d Source) Read(ctx context.Context, s *store.Store, epoch int64, pin string) (*tree.Tree, error) {
	t, err := d.Load(ctx, s, epoch)
	if err != nil {
		return nil, err
	}
	if "sha256:"+source.Digest(t) != pin {
		return nil, fault.Inputf("reading %q: the folder has changed since the plan was made", d.Path).WithFix("build again")
	}
	return t, nil
}

// Load reads the folder into a tree. What can't be read, sockets, and rules for
// paths that don't exist are errors of class fault.Input.
func (d Source) Load(ctx context.Context, s *store.Store, epoch int64) (*tree.Tree, error) {
	root, err := os.OpenRoot(d.Path)
	if err != nil {
		return nil, fault.Inputf("reading the root: %w", err).WithFix("correct root.directory.path, or make the folder")
	}
	defer root.Close()
	r := &reader{Source: d, ctx: ctx, root: root, store: s, tree: tree.New(epoch), left: d.Limits, first: map[fileID]string{}}
	if err := fs.WalkDir(root.FS(), ".", r.add); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fault.Inputf("%w", err).WithFix("build as a user who may read all of the folder")
		}
		return nil, source.Explain(fault.Input, fmt.Errorf("reading the root %q: %w", d.Path, err), "let nothing change the folder while it is read")
	}
	if err := d.applyOwners(r.tree); err != nil {
		return nil, err
	}
	source.Clamp(r.tree, epoch)
	return r.tree, nil
}

// fileID tells files with several names apart.
type fileID struct{ dev, ino uint64 }

type reader struct {
	Source
	ctx   context.Context
	root  *os.Root
	store *store.Store
	tree  *tree.Tree
	left  source.Limits
	first map[fileID]string // the first name of each file with several
}

// add reads one name.
func (r *reader) add(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	info, err := r.root.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("reading %q: the system tells no owners", path)
	}
	r.left.Entries--
	if info.Mode().IsRegular() {
		r.left.Bytes -= info.Size()
	}
	if r.left.Entries < 0 || r.left.Bytes < 0 {
		return source.Exceeded("reading %q: the folder exceeds %d entries or %d bytes", path, r.Limits.Entries, r.Limits.Bytes)
	}
	id := fileID{uint64(stat.Dev), stat.Ino}
	if old, again := r.first[id]; again {
		return r.tree.Link(old, path)
	}
	inode, err := r.inode(path, stat)
	if err != nil {
		return err
	}
	if stat.Nlink > 1 && !inode.IsDir() {
		r.first[id] = path
	}
	if path == "." {
		path = ""
	}
	return r.tree.Put(path, inode)
}

func (r *reader) inode(path string, stat *syscall.Stat_t) (*tree.Inode, error) {
	n := &tree.Inode{Mode: stat.Mode, UID: stat.Uid, GID: stat.Gid, Mtime: stat.Mtim.Sec, MtimeNsec: uint32(stat.Mtim.Nsec)}
	if n.UID == r.UID {
		n.UID = 0
	}
	if n.GID == r.GID {
		n.GID = 0
	}
	var err error
	switch n.Type() {
	case tree.TypeRegular:
		err = r.content(path, n, stat)
	case tree.TypeSymlink:
		n.Mode = tree.TypeSymlink | 0o777
		n.Target, err = r.root.Readlink(path)
	case tree.TypeBlock, tree.TypeChar:
		n.Major, n.Minor = unix.Major(stat.Rdev), unix.Minor(stat.Rdev)
	case tree.TypeDir, tree.TypeFifo:
	default:
		return nil, fault.Inputf("%q is a socket", path).WithFix("stop the program that listens there, and remove it")
	}
	if err != nil {
		return nil, err
	}
	n.Xattrs, err = r.xattrs(path)
	return n, err
}

// content stores a file. It must be the one that was looked at: no device or
// pipe that came in its place.
func (r *reader) content(path string, n *tree.Inode, stat *syscall.Stat_t) error {
	f, err := r.root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now, ok := info.Sys().(*syscall.Stat_t)
	if !ok || now.Dev != stat.Dev || now.Ino != stat.Ino {
		return fmt.Errorf("reading %q: it was replaced meanwhile", path)
	}
	n.Content, n.Size, err = r.store.Put(io.LimitReader(source.WithContext(r.ctx, f), stat.Size+1))
	if err == nil && n.Size != stat.Size {
		err = fmt.Errorf("reading %q: it was changed meanwhile", path)
	}
	return err
}

// applyOwners sets the owners of the rules, in order.
func (d Source) applyOwners(t *tree.Tree) error {
	for _, o := range d.Owners {
		top, err := t.Lookup(o.Path)
		if err != nil {
			return fault.Inputf("setting the owner of %q: %w", o.Path, err).WithFix("name a path that the folder has")
		}
		setOwner(top, o)
	}
	return nil
}

func setOwner(n *tree.Node, o Owner) {
	n.Inode.UID, n.Inode.GID = o.UID, o.GID
	for _, c := range n.Children() {
		setOwner(c, o)
	}
}

// portable tells whether an extended attribute means the same on every machine.
func portable(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.")
}

// xattrs returns a file's portable attributes. Its folder is opened below the
// root, so that no symbolic link that came meanwhile leads out of it.
func (r *reader) xattrs(path string) (map[string]string, error) {
	dir, err := r.root.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return readXattrs(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), path)
}

// readXattrs returns the portable attributes of a file, not of what it links to;
// errors call it name.
func readXattrs(path, name string) (map[string]string, error) {
	size, err := unix.Llistxattr(path, nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil, nil
	}
	buf := make([]byte, max(size, 0))
	if err == nil {
		size, err = unix.Llistxattr(path, buf)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "listing extended attributes of", Path: name, Err: err}
	}
	var found map[string]string
	for _, attribute := range strings.Split(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
		if !portable(attribute) {
			continue
		}
		value := make([]byte, 1<<16) // the kernel's limit, XATTR_SIZE_MAX
		n, err := unix.Lgetxattr(path, attribute, value)
		if err != nil {
			return nil, &fs.PathError{Op: "reading extended attribute " + attribute + " of", Path: name, Err: err}
		}
		if found == nil {
			found = map[string]string{}
		}
		found[attribute] = string(value[:n])
	}
	return found, nil
}
