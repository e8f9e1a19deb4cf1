// Package store keeps the contents of regular files in a content-addressed
// object store on disk.
//
// The layout is that of a composefs object store: an object lies in
// <dir>/<xx>/<62 hex digits>, named by the fs-verity digest of its bytes
// (SHA-256, 4096-byte blocks, no salt; package fsverity), with mode 0644. Files
// of at most tree.InlineMax bytes are kept in the composefs image itself and
// never become objects.
//
// The store is a cache: nothing is flushed to the disk on purpose, so an object
// may be damaged by a power cut. Therefore readers verify what they read, and an
// object found damaged is deleted, so that the next Put brings it back.
//
// A Store is safe for concurrent use, also by several processes on one folder:
// objects appear under their names complete, by rename(2).
package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

// tmpDir holds objects that are being written. Two hex digits name every other
// folder of the store.
const tmpDir = "tmp"

// bufferSize is how much of a content is read at once, in bytes. A content that
// fits is hashed before a file is made for it, so that a known one costs no
// writing at all.
const bufferSize = 256 << 10

// Store is an object store in one folder.
type Store struct {
	dir     string
	putters sync.Pool // of *putter
	empty   tree.Digest
}

// Open returns the store in dir, which is made when it is missing.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, tmpDir), 0o755); err != nil {
		return nil, fmt.Errorf("opening the object store: %w", err)
	}
	s := &Store{dir: dir, empty: fsverity.Sum(nil)}
	s.putters.New = func() any {
		return &putter{buf: make([]byte, bufferSize), sha: sha256.New()}
	}
	return s, nil
}

// Path returns the name of an object below the folder of a store, or below
// /objects in a root image: two hex digits, a slash, 62 hex digits.
func Path(verity tree.Digest) string {
	var b [65]byte
	hex.Encode(b[:2], verity[:1])
	b[2] = '/'
	hex.Encode(b[3:], verity[1:])
	return string(b[:])
}

// Has tells whether Open would find the content: small ones are never in the
// store and always found, others are looked for by digest and size in bytes. It
// doesn't read the object.
func (s *Store) Has(c tree.Content, size int64) bool {
	return size <= tree.InlineMax || isObject(s.path(c.Verity), size)
}

// Put stores what r holds, unless the store has it already, and returns its
// digests and its size in bytes. A content of at most tree.InlineMax bytes is
// returned in Content.Inline (not nil, even when empty) and not stored.
func (s *Store) Put(r io.Reader) (c tree.Content, size int64, err error) {
	p := s.putters.Get().(*putter)
	defer s.putters.Put(p)
	p.sha.Reset()
	p.verity.Reset()
	n, ended, err := fill(r, p.buf)
	if err != nil {
		return tree.Content{}, 0, fmt.Errorf("storing a file: %w", err)
	}
	p.hash(p.buf[:n])
	if !ended {
		return s.putLarge(p, r)
	}
	c = p.content()
	if n <= tree.InlineMax {
		c.Inline = append([]byte{}, p.buf[:n]...)
		return c, int64(n), nil
	}
	return c, int64(n), s.putSmall(c, p.buf[:n])
}

// fill reads until buf is full or r has ended. Unlike io.ReadFull it doesn't
// mix up the end of r with an io.ErrUnexpectedEOF that r itself reports.
func fill(r io.Reader, buf []byte) (n int, ended bool, err error) {
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// putSmall stores bytes whose digest is known already.
func (s *Store) putSmall(c tree.Content, data []byte) error {
	name := s.path(c.Verity)
	if isObject(name, int64(len(data))) {
		return nil
	}
	f, err := s.create()
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return discard(f, err)
	}
	return finish(f, name)
}

// putLarge stores the filled buffer and the rest of r.
func (s *Store) putLarge(p *putter, r io.Reader) (tree.Content, int64, error) {
	f, err := s.create()
	if err != nil {
		return tree.Content{}, 0, err
	}
	if _, err := f.Write(p.buf); err != nil {
		return tree.Content{}, 0, discard(f, err)
	}
	// The struct hides the file's ReadFrom, which would bypass the buffer.
	to := struct{ io.Writer }{io.MultiWriter(f, &p.verity, p.sha)}
	if _, err := io.CopyBuffer(to, struct{ io.Reader }{r}, p.buf); err != nil {
		return tree.Content{}, 0, discard(f, err)
	}
	c, size := p.content(), p.verity.Size()
	name := s.path(c.Verity)
	if isObject(name, size) {
		return c, size, discard(f, nil)
	}
	return c, size, finish(f, name)
}

func (s *Store) path(verity tree.Digest) string { return filepath.Join(s.dir, Path(verity)) }

func (s *Store) create() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, tmpDir), "")
	if err != nil {
		return nil, fmt.Errorf("storing a file: %w", err)
	}
	return f, nil
}

// putter is what one Put needs; putters are reused, as there are many small
// files.
type putter struct {
	buf    []byte
	sha    hash.Hash
	verity fsverity.Hasher
}

func (p *putter) hash(data []byte) {
	p.sha.Write(data)
	p.verity.Write(data)
}

func (p *putter) content() tree.Content {
	c := tree.Content{Verity: p.verity.Sum()}
	p.sha.Sum(c.SHA256[:0])
	return c
}

// isObject tells whether a whole object of that size lies at name. An object
// that a power cut left empty or short doesn't count, and is replaced.
func isObject(name string, size int64) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// finish gives a temporary file its name.
func finish(f *os.File, name string) error {
	if err := f.Chmod(0o644); err != nil {
		return discard(f, err)
	}
	if err := f.Close(); err != nil {
		return discard(f, err)
	}
	err := os.Rename(f.Name(), name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(name), 0o755); err == nil {
			err = os.Rename(f.Name(), name)
		}
	}
	if err != nil {
		return discard(f, err)
	}
	return nil
}

// discard deletes a temporary file and passes on the error that led to it.
func discard(f *os.File, err error) error {
	f.Close()
	if rmErr := os.Remove(f.Name()); err == nil {
		err = rmErr
	}
	if err != nil {
		return fmt.Errorf("storing a file: %w", err)
	}
	return nil
}
