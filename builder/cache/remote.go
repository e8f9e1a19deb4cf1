package cache

import (
	"archive/tar"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Remote keeps entries for other machines. What it gives out was signed by
// somebody who is trusted to build.
type Remote interface {
	// Name says where it is.
	Name() string
	// Pull writes the files that were pushed under a key into dir, those of
	// whose names wanted returns true. No entry is an error that matches
	// fs.ErrNotExist, one that can't be believed a RejectedError.
	Pull(ctx context.Context, key, dir string, wanted func(name string) bool) error
	// Has tells whether something was pushed under a key, without verifying it.
	Has(ctx context.Context, key string) (bool, error)
	// Push keeps files under a key, in place of what is there.
	Push(ctx context.Context, key string, files []RemoteFile) error
}

// RemoteFile is a file on its way to a Remote.
type RemoteFile struct {
	Name   string // plain, as Pull calls it
	Path   string // on disk
	Size   int64
	SHA256 string
}

// RejectedError tells that a remote entry can't be believed.
type RejectedError struct{ Err error }

func (e *RejectedError) Error() string { return "rejected: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *RejectedError) Unwrap() error { return e.Err }

// IsRejected tells whether an error is about an entry that can't be believed.
func IsRejected(err error) bool {
	var r *RejectedError
	return errors.As(err, &r)
}

func rejected(format string, args ...any) error {
	return &RejectedError{fmt.Errorf(format, args...)}
}

// Files of an entry in a Remote, beside its blobs, which are called by their
// digests.
const (
	remoteEntry   = "entry"
	remoteObjects = "objects.tar.zst" // the contents of its trees
)

// Fetch brings the entry with a key from a Remote, with its blobs, and the
// contents of its trees into s.
func (c *Cache) Fetch(ctx context.Context, r Remote, key string, s *store.Store) error {
	dir, err := os.MkdirTemp(c.scratch, "pull-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := r.Pull(ctx, key, dir, func(name string) bool {
		if !isDigest(name) {
			return name == remoteEntry || name == remoteObjects
		}
		_, err := os.Lstat(c.blobFile(name))
		return err != nil
	}); err != nil {
		return err
	}
	e, err := readEntry(filepath.Join(dir, remoteEntry))
	if errors.Is(err, fs.ErrNotExist) || IsDamage(err) {
		return rejected("it has no usable entry: %w", err)
	}
	if err != nil {
		return err
	}
	if e.Key != key {
		return rejected("it is the entry of %s with the key %s", e.Stage, e.Key)
	}
	for digest := range e.Blobs() {
		path := filepath.Join(dir, digest)
		if _, err := os.Lstat(path); err != nil {
			continue // it is here already, or complete tells
		}
		if _, err := c.Keep(path, digest); err != nil {
			return err
		}
	}
	if err := c.complete(e); err != nil {
		return rejected("%w", err)
	}
	if err := c.unpackObjects(ctx, filepath.Join(dir, remoteObjects), e, s); err != nil {
		return err
	}
	return c.Put(e)
}

// Send pushes an entry with all that belongs to it, unless something is there.
// With replace, it is pushed in any case.
func (c *Cache) Send(ctx context.Context, r Remote, e *Entry, s *store.Store, replace bool) error {
	if !replace {
		if has, err := r.Has(ctx, e.Key); has || err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(c.scratch, "push-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	data, err := e.Encode()
	if err != nil {
		return err
	}
	head := filepath.Join(dir, remoteEntry)
	if err := os.WriteFile(head, data, 0o600); err != nil {
		return err
	}
	files := []RemoteFile{{Name: remoteEntry, Path: head}}
	for _, digest := range slices.Sorted(maps.Keys(e.Blobs())) {
		files = append(files, RemoteFile{Name: digest, Path: c.blobFile(digest)})
	}
	wanted, err := c.objectsOf(e)
	if err != nil {
		return err
	}
	if len(wanted) > 0 {
		path := filepath.Join(dir, remoteObjects)
		if err := packObjects(ctx, path, wanted, s); err != nil {
			return err
		}
		files = append(files, RemoteFile{Name: remoteObjects, Path: path})
	}
	for i := range files {
		if err := files[i].measure(); err != nil {
			return err
		}
		if isDigest(files[i].Name) && files[i].SHA256 != files[i].Name {
			return damaged("the cached file %s is damaged", files[i].Name)
		}
	}
	return r.Push(ctx, e.Key, files)
}

// objectsOf returns the contents that the entry's trees name, by the hex form of
// their fs-verity digests.
func (c *Cache) objectsOf(e *Entry) (map[string]*tree.Inode, error) {
	objects := map[string]*tree.Inode{}
	for _, f := range e.Files {
		if f.MediaType != TreeMediaType {
			continue
		}
		data, err := c.ReadBytes(f.SHA256, MaxTree)
		if err != nil {
			return nil, err
		}
		t, err := tree.Decode(data)
		if err != nil {
			return nil, damaged("%v", err)
		}
		_ = t.Walk(func(_ string, n *tree.Node) error {
			if n.Inode.IsRegular() && n.Inode.Size > tree.InlineMax {
				objects[hexOf(n.Inode.Content.Verity[:])] = n.Inode
			}
			return nil
		})
	}
	return objects, nil
}

// packObjects writes contents into a compressed tar archive, under their
// digests and in their order.
func packObjects(ctx context.Context, path string, objects map[string]*tree.Inode, s *store.Store) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), z.Close())
		}
		if err := packObject(w, name, objects[name], s); err != nil {
			return errors.Join(err, z.Close())
		}
	}
	return errors.Join(w.Close(), z.Close())
}

func packObject(w *tar.Writer, name string, i *tree.Inode, s *store.Store) error {
	r, err := s.Open(i.Content)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: i.Size, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return err
}

// unpackObjects stores the contents that the entry's trees name; others in the
// archive are refused. Without trees there is no archive.
func (c *Cache) unpackObjects(ctx context.Context, path string, e *Entry, s *store.Store) error {
	wanted, err := c.objectsOf(e)
	if IsDamage(err) {
		return rejected("%w", err)
	}
	if err != nil || len(wanted) == 0 {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return rejected("it lacks the contents of its tree: %w", err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return rejected("%w", err)
	}
	defer z.Close()
	r := tar.NewReader(z)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return rejected("reading its contents: %w", err)
		}
		i := wanted[h.Name]
		if i == nil || h.Size != i.Size || h.Typeflag != tar.TypeReg {
			return rejected("it has a content %.80q that its tree doesn't name", h.Name)
		}
		got, _, err := s.Put(r)
		if err != nil {
			return rejected("reading the content %s: %w", h.Name, err)
		}
		if hex.EncodeToString(got.Verity[:]) != h.Name {
			return rejected("the content %s has another digest", h.Name)
		}
		delete(wanted, h.Name)
	}
}

// measure fills in size and digest.
func (f *RemoteFile) measure() error {
	size, digest, err := hashFile(f.Path)
	f.Size, f.SHA256 = size, digest
	return err
}
