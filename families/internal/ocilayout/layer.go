// Package ocilayout writes OCI images (OCI image specification 1.1): layers from
// file trees, and the documents around them. Where the bytes go is the caller's
// business.
package ocilayout

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/tree"
)

// Opener opens the contents of a tree's files; *store.Store is one.
type Opener interface {
	Open(c tree.Content) (io.ReadCloser, error)
}

const (
	// whiteoutPrefix marks files that a layer deletes (image-spec, "Whiteouts").
	whiteoutPrefix = ".wh."
	// xattrPrefix marks extended attributes among the PAX records, as star, GNU
	// tar and the container engines have it.
	xattrPrefix = "SCHILY.xattr."

	// layerBuffer is how much of a layer is written at once, in bytes.
	layerBuffer = 256 << 10
)

// Whiteout returns the name of the empty file that deletes a name of the layers
// below.
func Whiteout(name string) string { return whiteoutPrefix + name }

// Check looks for what a layer can't hold; it is an error of class fault.Input:
// sockets, and files that would delete others (names that begin with ".wh.",
// devices 0:0).
func Check(t *tree.Tree) error {
	return t.Walk(func(path string, n *tree.Node) error { return check(path, n) })
}

func check(path string, n *tree.Node) error {
	switch i := n.Inode; {
	case strings.HasPrefix(n.Name, whiteoutPrefix):
		return fault.Inputf("adding %q: in a container image, a name that begins with %q deletes another file", path, whiteoutPrefix).
			WithFix("rename the file, or build without the family oci")
	case i.Type() == tree.TypeChar && i.Major == 0 && i.Minor == 0:
		return fault.Inputf("adding %q: in a container image, the device 0:0 deletes another file", path).
			WithFix("remove the device, or build without the family oci")
	case i.Type() == tree.TypeSocket:
		return fault.Inputf("adding %q: a container image can't hold a socket", path).
			WithFix("remove the socket, or build without the family oci")
	}
	return nil
}

// WriteLayer writes a tree as one layer, a tar in gzip, and returns the SHA-256
// digest of the tar in hex, its DiffID. The layer holds everything of the tree:
// the root directory as "./", hard links, times to the nanosecond, extended
// attributes and devices. What Check refuses, it does not look for.
func WriteLayer(ctx context.Context, w io.Writer, t *tree.Tree, contents Opener) (diffID string, err error) {
	// One goroutine and no name or time in the header: the bytes depend on the
	// tree and the compressor's version alone.
	buffered := bufio.NewWriterSize(w, layerBuffer) // the compressor writes some 240 bytes at a time
	zip := gzip.NewWriter(buffered)
	zip.ModTime = time.Unix(0, 0) // "no time stamp is available" (RFC 1952)
	sum := sha256.New()
	l := &layer{ctx: ctx, contents: contents, tar: tar.NewWriter(io.MultiWriter(zip, sum)), first: map[*tree.Inode]string{}, buf: make([]byte, 1<<18)}
	if err := t.Walk(l.add); err != nil {
		return "", fmt.Errorf("writing an image layer: %w", err)
	}
	if err := l.tar.Close(); err != nil {
		return "", fmt.Errorf("writing an image layer: %w", err)
	}
	if err := errors.Join(zip.Close(), buffered.Flush()); err != nil {
		return "", fmt.Errorf("writing an image layer: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

type layer struct {
	ctx      context.Context
	contents Opener
	tar      *tar.Writer
	first    map[*tree.Inode]string // the first name of each inode
	buf      []byte
}

// add writes one name.
func (l *layer) add(path string, n *tree.Node) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	header := newHeader(path, n.Inode)
	if target, linked := l.first[n.Inode]; linked {
		header.Typeflag, header.Linkname, header.Size = tar.TypeLink, target, 0
	} else if !n.Inode.IsDir() {
		l.first[n.Inode] = path
	}
	if err := l.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("adding %q: %w", path, err)
	}
	if header.Size == 0 {
		return nil
	}
	if err := l.copy(n.Inode.Content); err != nil {
		return fmt.Errorf("adding %q: %w", path, err)
	}
	return nil
}

// newHeader describes an inode. The format is PAX, which falls back to plain
// ustar where that says the same.
func newHeader(path string, i *tree.Inode) *tar.Header {
	h := &tar.Header{
		Format:     tar.FormatPAX,
		Name:       path,
		Mode:       int64(i.Mode &^ tree.TypeMask),
		Uid:        int(i.UID),
		Gid:        int(i.GID),
		ModTime:    time.Unix(i.Mtime, int64(i.MtimeNsec)),
		PAXRecords: map[string]string{},
	}
	for name, value := range i.Xattrs {
		h.PAXRecords[xattrPrefix+name] = value
	}
	switch i.Type() {
	case tree.TypeDir:
		h.Typeflag, h.Name = tar.TypeDir, path+"/"
		if path == "" {
			h.Name = "./"
		}
	case tree.TypeRegular:
		h.Typeflag, h.Size = tar.TypeReg, i.Size
	case tree.TypeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, i.Target
	case tree.TypeFifo:
		h.Typeflag = tar.TypeFifo
	case tree.TypeBlock:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(i.Major), int64(i.Minor)
	case tree.TypeChar:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(i.Major), int64(i.Minor)
	}
	return h
}

// copy writes a file's content; the tar writer refuses more than the header's
// size, and with the next header less.
func (l *layer) copy(c tree.Content) error {
	r, err := l.contents.Open(c)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.CopyBuffer(l.tar, contextReader{l.ctx, r}, l.buf); err != nil {
		return err
	}
	return l.tar.Flush()
}

// contextReader ends with the context's error.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}
