// Package cache keeps what the stages of builds made.
//
// An entry is known by its key: the digest of everything that a stage's result
// depends on, which a plan tells before anything runs. It holds the result's
// value and lists its files. A file is a blob, named by its SHA-256 digest, or is
// put together from blobs, so that the root image is kept once and not in every
// disk image around it. Below the cache's folder:
//
//	stages/<xx>/<62 hex digits>  entries, by their keys
//	blobs/<xx>/<62 hex digits>   blobs, by their SHA-256 digests
//	tmp/                         what running builds are about to put there
//	lock                         held shared by builds, exclusively by Prune
//
// The same folder has the object store, packages, their listings and container
// images (see Kind), of which this package knows what List and Prune need.
//
// Nothing is trusted because it is there: an entry carries its own digest and
// key, and files are hashed whenever they are used. What is damaged is deleted,
// and its stage runs again. Files get their names by rename(2) when they are
// complete, blobs before the entries that name them, so that a build that is
// killed at any time leaves a usable cache. Nothing is flushed to the disk on
// purpose: what a power cut damages is found when it is used.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/flock"
)

// Folders and files of the cache.
const (
	stagesDir = "stages"
	blobsDir  = "blobs"
	tmpDir    = "tmp"
	lockFile  = "lock"
)

// scratchPrefix begins the names of scratch folders, in tmp.
const scratchPrefix = "run-"

// Cache is a cache's folder in use by a build: while it is open, nothing is
// pruned. It is safe for concurrent use, also by several processes.
type Cache struct {
	dir     string
	lock    *os.File
	scratch string
	now     func() time.Time
	close   func() error
}

// Open opens the cache in dir, which is made when it is missing. It waits while
// the cache is pruned. now is the clock by which the use of entries is recorded.
func Open(ctx context.Context, dir string, now func() time.Time) (*Cache, error) {
	lock, err := openLock(dir)
	if err != nil {
		return nil, err
	}
	c := &Cache{dir: dir, lock: lock, now: now}
	c.close = sync.OnceValue(c.end)
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the cache %q: %w", dir, err), lock.Close())
	}
	return c, nil
}

func (c *Cache) prepare(ctx context.Context) error {
	// The first of several builds deletes what killed ones left.
	if alone, err := tryLock(c.lock, syscall.LOCK_EX); err != nil {
		return err
	} else if alone {
		if err := deleteScratch(c.dir); err != nil {
			return err
		}
	}
	if err := waitLock(ctx, c.lock, syscall.LOCK_SH); err != nil {
		return err
	}
	tmp := filepath.Join(c.dir, tmpDir)
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	var err error
	c.scratch, err = os.MkdirTemp(tmp, scratchPrefix)
	return err
}

// deleteScratch deletes the scratch folders, while no build runs. Others may
// have files beside them when a folder is used as a cache by mistake.
func deleteScratch(dir string) error {
	tmp := filepath.Join(dir, tmpDir)
	entries, err := os.ReadDir(tmp)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), scratchPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(tmp, e.Name())))
		}
	}
	return err
}

// Close deletes the scratch folder and lets go of the cache. Only the first call
// does anything.
func (c *Cache) Close() error { return c.close() }

func (c *Cache) end() error { return errors.Join(os.RemoveAll(c.scratch), c.lock.Close()) }

// Scratch returns a folder of this Cache's own, in the file system of the blobs.
func (c *Cache) Scratch() string { return c.scratch }

func openLock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Buildf("opening the cache: %w", err).WithFix("give another folder with --cache-dir")
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fault.Buildf("opening the cache: %w", err).WithFix("give another folder with --cache-dir")
	}
	return f, nil
}

// lockWait is the pause between two attempts to get the lock.
const lockWait = 50 * time.Millisecond

// waitLock waits for the lock, how being LOCK_SH or LOCK_EX of flock(2).
func waitLock(ctx context.Context, f *os.File, how int) error {
	for {
		got, err := tryLock(f, how)
		if got || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockWait):
		}
	}
}

func tryLock(f *os.File, how int) (bool, error) {
	switch err := flock.Lock(f, how|syscall.LOCK_NB); err {
	case nil:
		return true, nil
	case syscall.EWOULDBLOCK:
		return false, nil
	default:
		return false, fmt.Errorf("locking %q: %w", f.Name(), err)
	}
}
