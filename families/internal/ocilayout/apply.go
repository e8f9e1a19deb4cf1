package ocilayout

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

// opaque is the whiteout that deletes all that the layers below have in its
// directory (image-spec, "Opaque Whiteout").
const opaque = whiteoutPrefix + whiteoutPrefix + ".opq"

// maxXattrs bounds the extended attributes of a file, in bytes; Linux itself
// allows 64 KiB for each.
const maxXattrs = 1 << 20

// Contents takes the contents of files.
type Contents interface {
	// Put reads the bytes of the file at a path to their end and describes them.
	Put(path string, r io.Reader) (tree.Content, int64, error)
}

// Apply puts a layer's tar over a tree, as image-spec's "Applying Changesets"
// has it.
func Apply(t *tree.Tree, r io.Reader, contents Contents) error {
	in := tar.NewReader(r)
	own := map[string]bool{} // what the layer itself has put
	for {
		h, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := applyEntry(t, h, in, contents, own); err != nil {
			return fmt.Errorf("applying %q: %w", h.Name, err)
		}
	}
}

func applyEntry(t *tree.Tree, h *tar.Header, r io.Reader, contents Contents, own map[string]bool) error {
	name := path.Clean("/" + h.Name)[1:]
	dir, base := path.Split(name)
	if base == opaque {
		return clearDir(t, dir, own)
	}
	if hidden, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		err := t.Remove(dir + hidden)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the layers below did not have it
		}
		return err
	}
	own[name] = true
	if h.Typeflag == tar.TypeLink {
		return t.Link(path.Clean("/" + h.Linkname)[1:], name)
	}
	inode, err := newInode(h)
	if err != nil {
		return err
	}
	if inode.IsRegular() {
		if inode.Content, inode.Size, err = contents.Put(name, r); err != nil {
			return err
		}
	}
	// A directory replaces a symbolic link to one.
	if old, err := t.Lookup(name); name != "" && inode.IsDir() && err == nil && !old.Inode.IsDir() {
		if err := t.Remove(name); err != nil {
			return err
		}
	}
	return t.Put(name, inode)
}

// clearDir removes what the layers below have put into a directory.
func clearDir(t *tree.Tree, dir string, own map[string]bool) error {
	n, err := t.Lookup(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var names []string
	for _, c := range n.Children() {
		if name := dir + c.Name; !own[name] {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := t.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// newInode reads a header; the content of a regular file is the caller's matter.
func newInode(h *tar.Header) (*tree.Inode, error) {
	i := &tree.Inode{
		Mode: uint32(h.Mode) & 0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid),
		Mtime: h.ModTime.Unix(), MtimeNsec: uint32(h.ModTime.Nanosecond()),
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > math.MaxUint32 || h.Gid > math.MaxUint32 {
		return nil, fmt.Errorf("owner %d:%d", h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		i.Mode |= tree.TypeRegular
	case tar.TypeDir:
		i.Mode |= tree.TypeDir
	case tar.TypeSymlink:
		i.Mode |= tree.TypeSymlink
		i.Target = h.Linkname
	case tar.TypeFifo:
		i.Mode |= tree.TypeFifo
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > math.MaxUint32 || h.Devminor > math.MaxUint32 {
			return nil, fmt.Errorf("device %d:%d", h.Devmajor, h.Devminor)
		}
		i.Mode |= tree.TypeChar
		if h.Typeflag == tar.TypeBlock {
			i.Mode ^= tree.TypeChar ^ tree.TypeBlock
		}
		i.Major, i.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	default:
		return nil, fmt.Errorf("the type %q of a tar entry is not known", h.Typeflag)
	}
	size := 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok {
			continue
		}
		if size += len(name) + len(value); size > maxXattrs {
			return nil, fmt.Errorf("more than %d bytes of extended attributes", maxXattrs)
		}
		if i.Xattrs == nil {
			i.Xattrs = map[string]string{}
		}
		i.Xattrs[name] = value
	}
	return i, nil
}
