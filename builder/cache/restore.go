package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Restore writes an entry's files below dir, with mode 0644. All get their names
// when all are complete, and none when one is damaged, which is a DamageError.
//
// What is written is hashed on its way, blob by blob: zeros between them, of
// which a disk image may have gigabytes, cost nothing.
func (c *Cache) Restore(ctx context.Context, e *Entry, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var parts []string
	defer func() {
		for _, name := range parts {
			err = errors.Join(err, remove(name)) // it is gone once it was renamed
		}
	}()
	for _, f := range e.Files {
		name, err := c.restore(ctx, f, dir)
		if name != "" {
			parts = append(parts, name)
		}
		if err != nil {
			return err
		}
	}
	for i, f := range e.Files {
		if err := place(parts[i], filepath.Join(dir, filepath.FromSlash(f.Name))); err != nil {
			return err
		}
	}
	return nil
}

// restore writes a file under a temporary name in dir.
func (c *Cache) restore(ctx context.Context, f File, dir string) (name string, err error) {
	out, err := os.CreateTemp(dir, ".part-*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	r := &restoring{cache: c, out: out, sums: map[string]*runningSum{}, buf: make([]byte, copyBuffer)}
	for _, p := range f.pieces() {
		if err := r.write(ctx, p); err != nil {
			return out.Name(), err
		}
	}
	for digest, s := range r.sums {
		if s.n != 0 {
			return out.Name(), damaged("the cached file %s has more than the %d bytes that are used", digest, s.n)
		}
	}
	return out.Name(), out.Truncate(f.Size) // zeros at the end are a hole
}

// restoring is a file that is being put together.
type restoring struct {
	cache *Cache
	out   *os.File
	sums  map[string]*runningSum // by blob
	buf   []byte
}

// runningSum hashes a blob whose bytes are used piece by piece, from its start.
type runningSum struct {
	hash.Hash
	n int64 // bytes so far; 0 again at the blob's end
}

func (r *restoring) write(ctx context.Context, p Piece) error {
	if p.Blob == "" {
		_, err := r.out.Seek(p.Size, io.SeekCurrent)
		return err
	}
	in, err := os.Open(r.cache.blobFile(p.Blob))
	if errors.Is(err, fs.ErrNotExist) {
		return damaged("the cached file %s is missing", p.Blob)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	s := r.sums[p.Blob]
	if s == nil {
		s = &runningSum{Hash: sha256.New()}
		r.sums[p.Blob] = s
	}
	if p.Offset != s.n {
		return damaged("the pieces of the cached file %s are not in order", p.Blob)
	}
	err = copyRange(ctx, io.MultiWriter(r.out, s), in, p.Offset, p.Size, r.buf)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("the cached file %s is too short", p.Blob)
	}
	if err != nil {
		return err
	}
	if s.n += p.Size; s.n < info.Size() {
		return nil
	}
	if got := hexOf(s.Sum(nil)); got != p.Blob {
		return damaged("the cached file %s is damaged: its SHA-256 digest is %s", p.Blob, got)
	}
	s.Reset()
	s.n = 0
	return nil
}
