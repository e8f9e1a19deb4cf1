package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// contentsAtOnce is how many files are stored at a time, while the walk goes on.
const contentsAtOnce = 4

// fileID tells files with several names apart.
type fileID struct{ dev, ino uint64 }

// reader reads a folder: names one after the other, in order, and what is in
// files beside that.
type reader struct {
	Source
	ctx      context.Context
	contents *errgroup.Group
	store    *store.Store
	tree     *tree.Tree
	left     source.Limits
	first    map[fileID]string // the first name of each file with several
}

// read reads the folder, and closes it.
func (d Source) read(ctx context.Context, root *os.Root, s *store.Store, epoch int64) (*tree.Tree, error) {
	contents, ctx := errgroup.WithContext(ctx)
	contents.SetLimit(contentsAtOnce)
	r := &reader{Source: d, ctx: ctx, contents: contents, store: s, tree: tree.New(epoch), left: d.Limits, first: map[fileID]string{}}
	err := r.top(root)
	if cerr := contents.Wait(); cerr != nil {
		err = cerr // the walk only saw that it was to stop
	}
	return r.tree, err
}

// folder is a folder that is open. Its names are looked up in it, not from the
// root on, so that nothing that comes in a folder's place meanwhile counts.
type folder struct {
	*os.Root
	self *os.File
}

func openFolder(root *os.Root) (folder, error) {
	self, err := root.Open(".")
	if err != nil {
		root.Close()
	}
	return folder{root, self}, err
}

func (f folder) close() {
	f.self.Close()
	f.Root.Close()
}

// top reads the folder itself and what is below it.
func (r *reader) top(root *os.Root) error {
	f, err := openFolder(root)
	if err != nil {
		return err
	}
	defer f.close()
	if err := r.add(f, ".", ""); err != nil {
		return err
	}
	return r.below(f, "")
}

// below reads all names of a folder.
func (r *reader) below(f folder, at string) error {
	names, err := f.self.Readdirnames(-1)
	if err != nil {
		return named(at, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := r.add(f, name, path.Join(at, name)); err != nil {
			return err
		}
	}
	return nil
}

// named gives an error the file's path below the root.
func named(at string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return &fs.PathError{Op: p.Op, Path: at, Err: p.Err}
	}
	return err
}

// add reads one name of a folder, and what is below it.
func (r *reader) add(f folder, name, at string) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	info, err := f.Lstat(name)
	if err != nil {
		return named(at, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("reading %q: the system tells no owners", at)
	}
	if err := r.count(info, at); err != nil {
		return err
	}
	id := fileID{uint64(stat.Dev), stat.Ino}
	if old, again := r.first[id]; again {
		return r.tree.Link(old, at)
	}
	inode, err := r.inode(f, name, at, stat)
	if err != nil {
		return err
	}
	if stat.Nlink > 1 && !inode.IsDir() {
		r.first[id] = at
	}
	if err := r.tree.Put(at, inode); err != nil || !inode.IsDir() || at == "" {
		return err
	}
	return r.enter(f, name, at, stat)
}

// count counts a name against the limits.
func (r *reader) count(info fs.FileInfo, at string) error {
	r.left.Entries--
	if info.Mode().IsRegular() {
		r.left.Bytes -= info.Size()
	}
	if r.left.Entries < 0 || r.left.Bytes < 0 {
		return source.Exceeded("reading %q: the folder exceeds %d entries or %d bytes", at, r.Limits.Entries, r.Limits.Bytes)
	}
	return nil
}

// enter reads what is below a folder. It must be the one that was looked at.
func (r *reader) enter(f folder, name, at string, stat *syscall.Stat_t) error {
	root, err := f.OpenRoot(name)
	if err != nil {
		return named(at, err)
	}
	sub, err := openFolder(root)
	if err != nil {
		return named(at, err)
	}
	defer sub.close()
	if err := isStill(sub.self, at, stat); err != nil {
		return err
	}
	return r.below(sub, at)
}

func (r *reader) inode(f folder, name, at string, stat *syscall.Stat_t) (*tree.Inode, error) {
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
		err = r.content(f, name, at, n, stat)
	case tree.TypeSymlink:
		n.Mode = tree.TypeSymlink | 0o777
		n.Target, err = f.Readlink(name)
	case tree.TypeBlock, tree.TypeChar:
		n.Major, n.Minor = unix.Major(stat.Rdev), unix.Minor(stat.Rdev)
	case tree.TypeDir, tree.TypeFifo:
	default:
		return nil, fault.Inputf("%q is a socket", at).WithFix("stop the program that listens there, and remove it")
	}
	if err != nil {
		return nil, named(at, err)
	}
	n.Xattrs, err = readXattrs(fmt.Sprintf("/proc/self/fd/%d/%s", f.self.Fd(), name), at)
	return n, err
}

// content opens a file, which must be the one that was looked at, and stores it
// while the walk goes on.
func (r *reader) content(f folder, name, at string, n *tree.Inode, stat *syscall.Stat_t) error {
	file, err := f.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	if err := isStill(file, at, stat); err != nil {
		file.Close()
		return err
	}
	r.contents.Go(func() (err error) {
		defer file.Close()
		n.Content, n.Size, err = r.store.Put(io.LimitReader(source.WithContext(r.ctx, file), stat.Size+1))
		if err == nil && n.Size != stat.Size {
			err = fmt.Errorf("reading %q: it was changed meanwhile", at)
		}
		return err
	})
	return nil
}

// isStill tells whether an open file is the one that was looked at: nothing that
// came in its place.
func isStill(f *os.File, at string, stat *syscall.Stat_t) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now, ok := info.Sys().(*syscall.Stat_t)
	if !ok || now.Dev != stat.Dev || now.Ino != stat.Ino {
		return fmt.Errorf("reading %q: it was replaced meanwhile", at)
	}
	return nil
}
