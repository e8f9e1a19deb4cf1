// Package source reads where a root tree comes from. What the sources have in
// common is here: entries of a tar stream, whose contents go into the object
// store while they stream by. Sub-packages read one kind of source each.
package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Entry is a member of an archive: a file, directory, symlink or device, or a
// hard link to an earlier entry.
type Entry struct {
	// Path is relative, without "./"; the root directory's is "".
	Path string
	// Link is the path of the entry that this one is a hard link to, ""
	// otherwise. Inode is empty for hard links.
	Link  string
	Inode tree.Inode
}

// maxMetadata bounds what the names, link targets and extended attributes of an
// archive take in memory, in bytes.
const maxMetadata = 256 << 20

// maxDevices bounds the device nodes of an archive; a full /dev has a few
// hundred.
const maxDevices = 1 << 16

// Tar reads a tar stream.
type Tar struct {
	Limits Limits
	// Tee, when it is not nil, returns a writer that sees the content of the
	// file at a path, too, or nil.
	Tee func(path string) io.Writer
}

// Scan calls fn for every member, in order, after its content was stored.
// Absolute paths, paths with "..", member types other than those of Entry, and
// what is above the limits are errors. It reads the stream to its end.
func (o Tar) Scan(ctx context.Context, r io.Reader, s *store.Store, fn func(Entry) error) error {
	r = &boundedReader{r: contextReader{ctx, r}, left: o.Limits.Stream()}
	in := tar.NewReader(r)
	left, metadataLeft, devicesLeft := o.Limits, maxMetadata, maxDevices
	for {
		h, err := in.Next()
		if err == io.EOF {
			return drain(r)
		}
		if err != nil {
			return fmt.Errorf("reading a tar header: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		left.Entries--
		left.Bytes -= h.Size
		if left.Entries < 0 || left.Bytes < 0 {
			return Exceeded("reading %.100q: the archive exceeds %d entries or %d bytes", h.Name, o.Limits.Entries, o.Limits.Bytes)
		}
		if metadataLeft -= metadataSize(h); metadataLeft < 0 {
			return fmt.Errorf("reading %.100q: the archive's names and attributes exceed %d bytes", h.Name, maxMetadata)
		}
		if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
			if devicesLeft--; devicesLeft < 0 {
				return fmt.Errorf("reading %.100q: the archive holds more than %d devices", h.Name, maxDevices)
			}
		}
		e, err := o.entry(in, h, s)
		if err != nil {
			return fmt.Errorf("reading %.100q: %w", h.Name, err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

// boundedReader ends reading after a number of bytes: headers that are no member
// of their own would pass the other limits by.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, Exceeded("the archive is longer than its limits allow")
	}
	return n, err
}

// maxTrailer is how much may follow the end of a tar archive: padding.
const maxTrailer = 1 << 20

// drain reads what follows the archive's end, so that a check value at the end
// of a compressed stream is looked at.
func drain(r io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxTrailer+1))
	if err == nil && n > maxTrailer {
		err = errors.New("more data follows the end of the tar archive")
	}
	return err
}

func (o Tar) entry(in *tar.Reader, h *tar.Header, s *store.Store) (Entry, error) {
	var e Entry
	var err error
	if e.Path, err = CleanPath(h.Name); err != nil {
		return e, err
	}
	if h.Typeflag == tar.TypeLink {
		e.Link, err = CleanPath(h.Linkname)
		if err == nil && (e.Link == "" || e.Path == "") {
			err = errors.New("a hard link needs two names")
		}
		return e, err
	}
	if err := metadata(&e.Inode, h); err != nil {
		return e, err
	}
	if e.Path == "" && !e.Inode.IsDir() {
		return e, errors.New("the root must be a directory")
	}
	if !e.Inode.IsRegular() {
		return e, nil
	}
	var content io.Reader = in
	if o.Tee != nil {
		if w := o.Tee(e.Path); w != nil {
			content = io.TeeReader(in, w)
		}
	}
	e.Inode.Content, e.Inode.Size, err = s.Put(content)
	return e, err
}

// metadataSize is about what a member takes in memory beside its content.
func metadataSize(h *tar.Header) int {
	n := len(h.Name) + len(h.Linkname)
	for key, value := range h.PAXRecords {
		n += len(key) + len(value)
	}
	return n
}

// metadata fills an inode from a tar header.
func metadata(n *tree.Inode, h *tar.Header) error {
	types := map[byte]uint32{
		tar.TypeReg: tree.TypeRegular, tar.TypeGNUSparse: tree.TypeRegular,
		tar.TypeDir: tree.TypeDir, tar.TypeSymlink: tree.TypeSymlink, tar.TypeFifo: tree.TypeFifo,
		tar.TypeChar: tree.TypeChar, tar.TypeBlock: tree.TypeBlock,
	}
	kind, ok := types[h.Typeflag]
	if !ok {
		return fmt.Errorf("unknown type %q", h.Typeflag)
	}
	for _, id := range []int64{int64(h.Uid), int64(h.Gid), h.Devmajor, h.Devminor} {
		if id < 0 || id >= math.MaxUint32 {
			return fmt.Errorf("owner or device number %d is out of range", id)
		}
	}
	n.Mode = kind | uint32(h.Mode)&0o7777
	n.UID, n.GID = uint32(h.Uid), uint32(h.Gid)
	n.Mtime, n.MtimeNsec = h.ModTime.Unix(), uint32(h.ModTime.Nanosecond())
	switch kind {
	case tree.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > 4095 || strings.ContainsRune(h.Linkname, 0) {
			return errors.New("the symlink's target is empty, too long or holds a NUL byte")
		}
		n.Target = h.Linkname
	case tree.TypeChar, tree.TypeBlock:
		n.Major, n.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	}
	const prefix = "SCHILY.xattr."
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if name == "" || len(name) > 255 || len(value) > 1<<16 {
			return fmt.Errorf("extended attribute %.40q is too long", name)
		}
		if n.Xattrs == nil {
			n.Xattrs = map[string]string{}
		}
		n.Xattrs[name] = value
	}
	return nil
}

// CleanPath returns an archive member's path without "./" in front and "/" at
// the end; the root is "". Absolute paths and elements that are empty, "." or
// ".." are errors.
func CleanPath(name string) (string, error) {
	if name == "." || name == "./" {
		return "", nil
	}
	p := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	for elem := range strings.SplitSeq(p, "/") {
		switch {
		case elem == "" || elem == "." || elem == "..":
			return "", fmt.Errorf("path %.100q leaves the archive or is not clean", name)
		case len(elem) > 255 || strings.ContainsRune(elem, 0):
			return "", fmt.Errorf("path %.40q: an element is longer than 255 bytes or holds a NUL byte", name)
		}
	}
	if len(p) > 4095 {
		return "", fmt.Errorf("path %.40q is longer than 4095 bytes", name)
	}
	return p, nil
}

// WithContext returns a reader of r that ends when ctx does.
func WithContext(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

// contextReader ends reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
