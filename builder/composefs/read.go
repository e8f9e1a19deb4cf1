package composefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"

	goerofs "github.com/erofs/go-erofs"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// maxEntries bounds the names that ReadRoot takes.
const maxEntries = 8 << 20

// Root is the root that a root image holds.
type Root struct {
	// Tree has of contents the fs-verity digests, and small ones inline.
	Tree *tree.Tree

	image fs.FS
}

// ReadRoot reads what WriteRootImage wrote, of which r has size bytes or more
// behind its end. It trusts the image: Identify is what checks one.
func ReadRoot(ctx context.Context, r io.ReaderAt, size int64) (*Root, error) {
	root, err := readRoot(ctx, r, size)
	if err != nil {
		return nil, fmt.Errorf("reading the files of a root image: %w", err)
	}
	return root, nil
}

func readRoot(ctx context.Context, r io.ReaderAt, size int64) (*Root, error) {
	super, err := erofs.ReadSuperblock(r)
	if err != nil {
		return nil, err
	}
	if super.Size() > size {
		return nil, fmt.Errorf("%d blocks in %d bytes", super.Blocks, size)
	}
	data := io.NewSectionReader(r, 0, super.Size())
	image, err := goerofs.Open(data)
	if err != nil {
		return nil, err
	}
	inner, err := openImage(image, data)
	if err != nil {
		return nil, err
	}
	reader := treeReader{ctx: ctx, fsys: inner, tree: tree.New(0), first: map[int64]string{}, folders: map[int64]bool{}}
	if err := fs.WalkDir(inner, ".", reader.add); err != nil {
		return nil, err
	}
	return &Root{reader.tree, image}, nil
}

// Open opens a content of the tree.
func (o *Root) Open(c tree.Content) (io.ReadCloser, error) {
	if c.Inline != nil {
		return io.NopCloser(strings.NewReader(string(c.Inline))), nil
	}
	return o.image.Open(ObjectsDir + "/" + store.Path(c.Verity))
}

// openImage opens /root.cfs where it lies in the root image.
func openImage(image fs.FS, data io.ReaderAt) (fs.FS, error) {
	info, err := fs.Stat(image, ImageFile)
	if err != nil {
		return nil, err
	}
	located, ok := info.(interface{ DataRange() []goerofs.DataRange })
	if !ok || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("/%s is not a file", ImageFile)
	}
	pieces := pieces{data: data}
	for _, p := range located.DataRange() {
		if p.Offset < 0 || p.Device != 0 {
			return nil, fmt.Errorf("/%s has holes", ImageFile)
		}
		pieces.list = append(pieces.list, p)
	}
	return goerofs.Open(pieces)
}

// pieces is a file that lies in pieces in another.
type pieces struct {
	data io.ReaderAt
	list []goerofs.DataRange
}

// ReadAt implements io.ReaderAt.
func (s pieces) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	for _, piece := range s.list {
		if off >= piece.Size {
			off -= piece.Size
			continue
		}
		k, err := s.data.ReadAt(p[n:n+int(min(int64(len(p)-n), piece.Size-off))], piece.Offset+off)
		if n += k; n == len(p) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		off = 0
	}
	return n, io.EOF
}

// treeReader makes a tree of a composefs image's files.
type treeReader struct {
	ctx     context.Context
	fsys    fs.FS
	tree    *tree.Tree
	first   map[int64]string // a path of each inode that has several
	folders map[int64]bool   // inodes that were met
	entries int
}

func (t *treeReader) add(name string, d fs.DirEntry, err error) error {
	if err = errors.Join(err, t.ctx.Err()); err != nil {
		return err
	}
	if t.entries++; t.entries > maxEntries || len(name) > maxTarget {
		return fmt.Errorf("%.40q: more than %d names, or one longer than %d bytes", name, maxEntries, maxTarget)
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*goerofs.Stat)
	if !ok {
		return fmt.Errorf("%q: no metadata", name)
	}
	inode, err := t.inode(name, stat)
	if err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if name == "." {
		name = ""
	}
	if isWhiteout(&inode) && !strings.Contains(name, "/") {
		return nil // hides a folder of objects
	}
	switch {
	case inode.IsDir():
		if t.folders[stat.Ino] { // in a false image, folders may hold themselves
			return fmt.Errorf("%q is a folder that has another name, too", name)
		}
		t.folders[stat.Ino] = true
	case stat.Nlink > 1:
		if first, ok := t.first[stat.Ino]; ok {
			return t.tree.Link(first, name)
		}
		t.first[stat.Ino] = name
	}
	return t.tree.Put(name, &inode)
}

// inode converts a file's metadata.
func (t *treeReader) inode(name string, s *goerofs.Stat) (i tree.Inode, err error) {
	if s.Mtime > math.MaxInt64 {
		return i, fmt.Errorf("modification time %d", s.Mtime)
	}
	i = tree.Inode{Mode: unixMode(s.Mode), UID: s.UID, GID: s.GID, Mtime: int64(s.Mtime), MtimeNsec: s.MtimeNs, Xattrs: unescape(s.Xattrs)}
	switch i.Type() {
	case tree.TypeRegular:
		i.Size = s.Size
		i.Content, err = t.content(name, s)
	case tree.TypeSymlink:
		i.Target, err = fs.ReadLink(t.fsys, name)
	case tree.TypeChar, tree.TypeBlock:
		i.Major, i.Minor = s.Rdev>>8&0xfff, s.Rdev&0xff|s.Rdev>>12&0xfff00
	}
	return i, err
}

// content returns the bytes of a small file, and the digest of every one.
func (t *treeReader) content(name string, s *goerofs.Stat) (c tree.Content, err error) {
	if s.Size > tree.InlineMax {
		metacopy := s.Xattrs[overlayPrefix+"metacopy"]
		if len(metacopy) != 4+len(c.Verity) {
			return c, errors.New("no digest of its object")
		}
		c.Verity = tree.Digest([]byte(metacopy[4:]))
		return c, nil
	}
	if c.Inline, err = fs.ReadFile(t.fsys, name); err != nil {
		return c, err
	}
	h := fsverity.New()
	h.Write(c.Inline)
	c.Verity = h.Sum()
	return c, nil
}

// unescape returns the xattrs that the mounted root has.
func unescape(all map[string]string) map[string]string {
	var xattrs map[string]string
	for name, value := range all {
		if rest, ok := strings.CutPrefix(name, escapedPrefix); ok {
			name = overlayPrefix + rest
		} else if strings.HasPrefix(name, overlayPrefix) {
			continue
		}
		if xattrs == nil {
			xattrs = map[string]string{}
		}
		xattrs[name] = value
	}
	return xattrs
}

// unixMode converts to st_mode.
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for _, bit := range []struct {
		is  fs.FileMode
		set uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&bit.is != 0 {
			mode |= bit.set
		}
	}
	switch {
	case m.IsDir():
		return mode | tree.TypeDir
	case m&fs.ModeSymlink != 0:
		return mode | tree.TypeSymlink
	case m&fs.ModeCharDevice != 0:
		return mode | tree.TypeChar
	case m&fs.ModeDevice != 0:
		return mode | tree.TypeBlock
	case m&fs.ModeNamedPipe != 0:
		return mode | tree.TypeFifo
	case m&fs.ModeSocket != 0:
		return mode | tree.TypeSocket
	}
	return mode | tree.TypeRegular
}
