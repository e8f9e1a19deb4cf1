package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Version is the version of the format of entries; it is part of every key.
const Version = 1

// maxEntry bounds an entry without its files, in bytes.
const maxEntry = 16 << 20

// Entry is a stage's result.
type Entry struct {
	Key string `json:"key"`
	// Stage is the name of the stage, "<arch>/<stage>".
	Stage string `json:"stage"`
	// Value is the result itself, in JSON; its files are listed apart.
	Value json.RawMessage `json:"value,omitempty"`
	Files []File          `json:"files,omitempty"`
}

// File is a file of an entry.
type File struct {
	Name      string `json:"name"` // slash-separated, relative
	MediaType string `json:"media_type,omitempty"`
	Size      int64  `json:"size"` // bytes
	SHA256    string `json:"sha256"`
	// Pieces are what the file is put together from; none: it is the blob of
	// its digest.
	Pieces []Piece `json:"pieces,omitempty"`
}

// Piece is a run of a file's bytes.
type Piece struct {
	// Blob is the digest of the blob that has them, "" for zeros; they begin at
	// Offset.
	Blob   string `json:"blob,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Size   int64  `json:"size"`
}

// File returns the file of that name.
func (e *Entry) File(name string) (File, error) {
	for _, f := range e.Files {
		if f.Name == name {
			return f, nil
		}
	}
	return File{}, damaged("the entry of %s has no file %q", e.Stage, name)
}

// Blobs returns the digests of all blobs, each once, with the least size that
// each must have.
func (e *Entry) Blobs() map[string]int64 {
	sizes := map[string]int64{}
	for _, f := range e.Files {
		for _, p := range f.pieces() {
			if p.Blob != "" {
				sizes[p.Blob] = max(sizes[p.Blob], p.Offset+p.Size)
			}
		}
	}
	return sizes
}

// pieces returns what the file is made of.
func (f File) pieces() []Piece {
	if len(f.Pieces) == 0 {
		return []Piece{{Blob: f.SHA256, Size: f.Size}}
	}
	return f.Pieces
}

// DamageError tells that the cache holds something else than it should. What
// was damaged has been deleted.
type DamageError struct{ Reason string }

func (e *DamageError) Error() string { return e.Reason }

func damaged(format string, args ...any) error { return &DamageError{fmt.Sprintf(format, args...)} }

// IsDamage tells whether an error is about damage.
func IsDamage(err error) bool {
	var d *DamageError
	return errors.As(err, &d)
}

// Encode returns the form in which an entry is kept: a line with the format's
// version and the SHA-256 digest of the rest, which is JSON.
func (e *Entry) Encode() ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encoding the entry of %s: %w", e.Stage, err)
	}
	return append(fmt.Appendf(nil, "%s\n", header(data)), data...), nil
}

func header(data []byte) string {
	return fmt.Sprintf("bootsmith-stage %d %x", Version, sha256.Sum256(data))
}

// Decode reads what Encode returned.
func Decode(raw []byte) (*Entry, error) {
	head, data, _ := bytes.Cut(raw, []byte("\n"))
	if string(head) != header(data) {
		return nil, damaged("an entry is damaged or of another version")
	}
	e := &Entry{}
	if err := json.Unmarshal(data, e); err != nil {
		return nil, damaged("reading an entry: %v", err)
	}
	return e, e.check()
}

// check refuses an entry that no build wrote.
func (e *Entry) check() error {
	if !isDigest(e.Key) {
		return damaged("an entry has the key %.80q", e.Key)
	}
	for _, f := range e.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Name)) || !isDigest(f.SHA256) || f.Size < 0 {
			return damaged("the entry of %s has the file %.80q", e.Stage, f.Name)
		}
		left := f.Size
		for _, p := range f.pieces() {
			if p.Blob != "" && !isDigest(p.Blob) || p.Offset < 0 || p.Size < 0 || p.Size > left || p.Offset > 1<<62 {
				return damaged("the entry of %s has a malformed piece of %q", e.Stage, f.Name)
			}
			left -= p.Size
		}
		if left != 0 {
			return damaged("the entry of %s has too few pieces of %q", e.Stage, f.Name)
		}
	}
	return nil
}

func isDigest(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

func (c *Cache) entryFile(key string) string { return entryFile(c.dir, key) }

func entryFile(dir, key string) string { return filepath.Join(dir, stagesDir, key[:2], key[2:]) }

// Has tells whether there is an entry, without looking at it.
func (c *Cache) Has(key string) bool {
	info, err := os.Lstat(c.entryFile(key))
	return err == nil && info.Mode().IsRegular()
}

// Get returns an entry whose blobs are there, and records that it was used. A
// missing one is an error that matches fs.ErrNotExist, a damaged one a
// DamageError.
func (c *Cache) Get(key string) (*Entry, error) {
	name := c.entryFile(key)
	e, err := readEntry(name)
	if err == nil && e.Key != key {
		err = damaged("an entry is that of %s with the key %s", e.Stage, e.Key)
	}
	if err == nil {
		err = c.complete(e)
	}
	if IsDamage(err) {
		return nil, errors.Join(err, remove(name))
	}
	if err != nil {
		return nil, err
	}
	now := c.now()
	return e, os.Chtimes(name, now, now)
}

func readEntry(name string) (*Entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxEntry+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxEntry {
		return nil, damaged("an entry is larger than %d bytes", maxEntry)
	}
	return Decode(raw)
}

// complete makes sure that the entry's blobs are there, without reading them.
func (c *Cache) complete(e *Entry) error {
	for digest, size := range e.Blobs() {
		info, err := os.Lstat(c.blobFile(digest))
		if err != nil || !info.Mode().IsRegular() || info.Size() < size {
			return damaged("the entry of %s lacks a file", e.Stage)
		}
	}
	return nil
}

// Put keeps an entry whose blobs are kept already.
func (c *Cache) Put(e *Entry) error {
	data, err := e.Encode()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.scratch, "entry-")
	if err != nil {
		return fmt.Errorf("caching %s: %w", e.Stage, err)
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = place(f.Name(), c.entryFile(e.Key))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("caching %s: %w", e.Stage, err), remove(f.Name()))
	}
	return nil
}

// Evict deletes an entry that turned out to be unusable, with those of its blobs
// that are damaged.
func (c *Cache) Evict(e *Entry) error {
	var errs []error
	for digest, size := range e.Blobs() {
		if _, err := c.verify(digest, size); IsDamage(err) {
			errs = append(errs, remove(c.blobFile(digest)))
		}
	}
	return errors.Join(append(errs, remove(c.entryFile(e.Key)))...)
}

// place renames a finished file, whose mode becomes 0644.
func place(from, to string) error {
	if err := os.Chmod(from, 0o644); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
			err = os.Rename(from, to)
		}
	}
	return err
}

// remove deletes a file that may be gone already.
func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func hexOf(sum []byte) string { return hex.EncodeToString(sum) }
