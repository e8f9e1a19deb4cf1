package families

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// Sink is the only door to a family's files: it hashes while they are written,
// and a file gets its name when it is complete. Its methods may be called from
// several goroutines.
type Sink struct {
	dir string

	mu    sync.Mutex
	done  []Artifact
	main  string
	spans map[string][]Span
	inUse map[*File]struct{}
	names map[string]bool // committed, or about to be
}

// Artifact is a committed file.
type Artifact struct {
	Name      string // slash-separated, relative to the sink's folder
	MediaType string // for the registry
	Size      int64  // bytes
	SHA256    string // hex
}

// Span is a run of an artifact's bytes.
type Span struct {
	Size int64 // bytes
	Hole bool  // zeros that take no space on disk
	// From is the path of a finished file whose bytes they are, all of them; ""
	// for others.
	From string
}

// NewSink returns a sink that writes below dir, which it makes when needed.
func NewSink(dir string) *Sink {
	return &Sink{dir: dir, inUse: map[*File]struct{}{}, names: map[string]bool{}, spans: map[string][]Span{}}
}

// Create opens a file for writing under a temporary name. The name given to
// Commit decides what it is called.
func (s *Sink) Create() (*File, error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating an artifact: %w", err)
	}
	f, err := os.CreateTemp(s.dir, ".part-*")
	if err != nil {
		return nil, fmt.Errorf("creating an artifact: %w", err)
	}
	out := &File{sink: s, f: f, sum: sha256.New()}
	s.mu.Lock()
	s.inUse[out] = struct{}{}
	s.mu.Unlock()
	return out, nil
}

// SetMain names the file that stands for the family in the webhook.
func (s *Sink) SetMain(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.main = name
}

// Main returns the committed main file.
func (s *Sink) Main() (Artifact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.done {
		if a.Name == s.main {
			return a, nil
		}
	}
	return Artifact{}, fmt.Errorf("finding the main file %q: it was not committed", s.main)
}

// Artifacts returns the committed files in the order of their commits.
func (s *Sink) Artifacts() []Artifact {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Artifact(nil), s.done...)
}

// Spans says where the bytes of a committed file come from, from front to back.
func (s *Sink) Spans(name string) []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spans[name]
}

// Close deletes what was created but not committed.
func (s *Sink) Close() error {
	s.mu.Lock()
	open := s.inUse
	s.inUse = map[*File]struct{}{}
	s.mu.Unlock()
	var errs []error
	for f := range open {
		errs = append(errs, f.discard())
	}
	return errors.Join(errs...)
}

// File is an artifact in the making. It is written from front to back.
type File struct {
	sink *Sink
	f    *os.File
	sum  hash.Hash
	size int64

	spans    []Span
	embedded int64 // bytes of the last span that are still to come
}

// largeWrite is the size of a write, in bytes, from which hashing by another
// goroutine pays off.
const largeWrite = 16 << 10

// Write appends p. After an error the file is of no use.
func (f *File) Write(p []byte) (int, error) {
	var hashing sync.WaitGroup
	if len(p) >= largeWrite {
		hashing.Go(func() { f.sum.Write(p) })
	} else {
		f.sum.Write(p)
	}
	n, err := f.f.Write(p)
	hashing.Wait()
	f.size += int64(n)
	f.note(int64(n))
	return n, err
}

// note adds written bytes to the spans.
func (f *File) note(n int64) {
	of := min(n, f.embedded)
	f.embedded -= of
	if n -= of; n > 0 {
		f.span(Span{Size: n})
	}
}

func (f *File) span(s Span) {
	last := len(f.spans) - 1
	if s.From == "" && last >= 0 && f.spans[last].From == "" && f.spans[last].Hole == s.Hole {
		f.spans[last].Size += s.Size
		return
	}
	f.spans = append(f.spans, s)
}

// Embed says that the next size bytes that are written are those of the
// finished file at path.
func (f *File) Embed(path string, size int64) {
	if f.embedded == 0 && size > 0 {
		f.spans = append(f.spans, Span{Size: size, From: path})
		f.embedded = size
	}
}

var zeros [1 << 16]byte

// Skip appends n zero bytes as a hole, which takes no space on disk.
func (f *File) Skip(n int64) error {
	if n < 0 {
		return fmt.Errorf("skipping %d bytes of an artifact", n)
	}
	if _, err := f.f.Seek(n, io.SeekCurrent); err != nil {
		return err
	}
	f.size += n
	if n > 0 {
		f.span(Span{Size: n, Hole: true})
	}
	for n > 0 {
		k := min(n, int64(len(zeros)))
		f.sum.Write(zeros[:k])
		n -= k
	}
	return nil
}

// Size returns the number of bytes so far.
func (f *File) Size() int64 { return f.size }

// SHA256 returns the digest of the bytes so far, in hex.
func (f *File) SHA256() string { return hex.EncodeToString(f.sum.Sum(nil)) }

// Commit gives the file its name (slash-separated, relative; its folders are
// made) and its media type.
func (f *File) Commit(name, mediaType string) (Artifact, error) {
	if !filepath.IsLocal(name) {
		return Artifact{}, fmt.Errorf("committing artifact %q: the name leaves the folder", name)
	}
	if err := f.sink.claim(name); err != nil {
		return Artifact{}, fmt.Errorf("committing artifact %q: %w", name, err)
	}
	if err := f.finish(name); err != nil {
		return Artifact{}, fmt.Errorf("committing artifact %q: %w", name, err)
	}
	if f.embedded > 0 {
		return Artifact{}, fmt.Errorf("committing artifact %q: %d bytes of an embedded file are missing", name, f.embedded)
	}
	a := Artifact{Name: name, MediaType: mediaType, Size: f.size, SHA256: f.SHA256()}
	f.sink.mu.Lock()
	defer f.sink.mu.Unlock()
	delete(f.sink.inUse, f)
	f.sink.spans[name] = f.spans
	f.sink.done = append(f.sink.done, a)
	return a, nil
}

// claim reserves a name; no two files of a family may have the same.
func (s *Sink) claim(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name] {
		return errors.New("there is a file of that name already")
	}
	s.names[name] = true
	return nil
}

// finish sets the size (a hole at the end has none yet) and the final name.
func (f *File) finish(name string) error {
	if err := f.f.Truncate(f.size); err != nil {
		return err
	}
	if err := f.f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.f.Close(); err != nil {
		return err
	}
	path := filepath.Join(f.sink.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.Rename(f.f.Name(), path)
}

func (f *File) discard() error {
	f.f.Close()
	return os.Remove(f.f.Name())
}
