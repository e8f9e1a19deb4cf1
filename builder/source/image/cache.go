package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/powernode/bootsmith/builder/fault"
)

// Cache keeps the blobs of another place in a folder. What it holds is compared
// with its digest whenever it is opened; what is damaged is fetched again.
type Cache struct {
	Dir string
	// Next has the blobs that the cache has not; nil forbids to fetch them.
	Next Blobs
}

// Manifest implements Blobs.
func (c Cache) Manifest(ctx context.Context, digest v1.Hash) (io.ReadCloser, error) {
	return c.open(ctx, digest, maxDocument, func(ctx context.Context) (io.ReadCloser, error) { return c.Next.Manifest(ctx, digest) })
}

// Blob implements Blobs.
func (c Cache) Blob(ctx context.Context, digest v1.Hash, size int64) (io.ReadCloser, error) {
	return c.open(ctx, digest, size, func(ctx context.Context) (io.ReadCloser, error) { return c.Next.Blob(ctx, digest, size) })
}

// open opens a blob of at most limit bytes; next fetches it.
func (c Cache) open(ctx context.Context, digest v1.Hash, limit int64, next func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	name := filepath.Join(c.Dir, digest.Hex)
	f, err := openVerified(ctx, name, digest, limit)
	if err == nil {
		return f, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the cache: %w", err)
	}
	if c.Next == nil {
		return nil, fault.Inputf("fetching %s: it is not in the cache, and the build is offline", digest).WithFix("build once without --offline, or run bootsmith lock --fetch")
	}
	if err := c.fetch(ctx, name, digest, limit, next); err != nil {
		return nil, err
	}
	return os.Open(name)
}

// openVerified opens a cached blob. One that is damaged is deleted and does not
// exist.
func openVerified(ctx context.Context, name string, digest v1.Hash, limit int64) (io.ReadCloser, error) {
	open := func(context.Context, v1.Hash) (io.ReadCloser, error) { return os.Open(name) }
	r, err := openBlob(ctx, open, digest, limit)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, r)
	r.Close()
	if err != nil {
		if err := os.Remove(name); err != nil {
			return nil, err
		}
		return nil, fs.ErrNotExist
	}
	return os.Open(name)
}

// fetch brings a blob into the cache, complete and verified or not at all.
func (c Cache) fetch(ctx context.Context, name string, digest v1.Hash, limit int64, next func(context.Context) (io.ReadCloser, error)) (err error) {
	r, err := openBlob(ctx, func(ctx context.Context, _ v1.Hash) (io.ReadCloser, error) { return next(ctx) }, digest, limit)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("filling the cache: %w", err)
	}
	f, err := os.CreateTemp(c.Dir, ".fetch-")
	if err != nil {
		return fmt.Errorf("filling the cache: %w", err)
	}
	defer os.Remove(f.Name()) // fails when it was renamed
	if _, err := io.CopyBuffer(f, r, make([]byte, 256<<10)); err != nil {
		f.Close()
		return fmt.Errorf("fetching %s: %w", digest, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("filling the cache: %w", err)
	}
	return os.Rename(f.Name(), name)
}
