package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

var (
	errDamaged = errors.New("it is damaged") // and has been deleted
	errMissing = errors.New("it is missing")
)

// IsLost tells whether an error is of an object that is damaged, or missing, as it
// is when somebody else found the damage: storing its content again brings it
// back.
func IsLost(err error) bool { return errors.Is(err, errDamaged) || errors.Is(err, errMissing) }

// Open returns the bytes of a content, inline or stored. It verifies them
// against the fs-verity digest while they are read: where they differ, the read
// that would report the end reports an error instead, and the damaged object is
// deleted. The caller closes the reader. A missing object is an error that
// matches fs.ErrNotExist.
func (s *Store) Open(c tree.Content) (io.ReadCloser, error) {
	if c.Inline != nil || c.Verity == s.empty {
		return &reader{Reader: bytes.NewReader(c.Inline), Closer: io.NopCloser(nil), want: c.Verity}, nil
	}
	name := s.path(c.Verity)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Buildf("reading object %x: %w: %w", c.Verity, errMissing, err).
			WithFix("don't delete from the object store while a build runs; run the build again")
	}
	if err != nil {
		return nil, fmt.Errorf("reading object %x: %w", c.Verity, err)
	}
	return &reader{Reader: f, Closer: f, want: c.Verity, name: name}, nil
}

// reader hashes what is read through it.
type reader struct {
	io.Reader
	io.Closer
	verity fsverity.Hasher
	want   tree.Digest
	name   string // "" for inline bytes
	failed error
}

func (r *reader) Read(p []byte) (int, error) {
	if r.failed != nil {
		return 0, r.failed
	}
	n, err := r.Reader.Read(p)
	r.verity.Write(p[:n])
	if err == io.EOF {
		if got := tree.Digest(r.verity.Sum()); got != r.want {
			r.failed = r.damaged(got)
			err = r.failed
		}
	}
	return n, err
}

// DeleteDamaged reads all objects, and deletes those that are damaged.
func (s *Store) DeleteDamaged(ctx context.Context) error {
	return filepath.WalkDir(s.dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody else deleted it
		}
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		verity, err := hex.DecodeString(filepath.Base(filepath.Dir(name)) + d.Name())
		if err != nil || len(verity) != len(tree.Digest{}) || !d.Type().IsRegular() {
			return nil
		}
		if err := s.check(tree.Digest(verity)); !IsLost(err) {
			return err
		}
		return nil
	})
}

// check reads an object to its end.
func (s *Store) check(verity tree.Digest) error {
	r, err := s.Open(tree.Content{Verity: verity})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

func (r *reader) damaged(got tree.Digest) error {
	if r.name == "" {
		return fault.Buildf("reading inline content: its fs-verity digest is %x instead of %x", got, r.want)
	}
	err := fault.Buildf("reading object %x: %w, its fs-verity digest is %x", r.want, errDamaged, got)
	if rmErr := os.Remove(r.name); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
		return err.WithFix("delete %q and run the build again", r.name)
	}
	return err.WithFix("run the build again: the damaged object was deleted")
}
