package gpt

import (
	"errors"
	"fmt"
	"io/fs"
)

// ends is a disk of which only the sectors of the two tables exist. go-diskfs
// takes it for a writable file.
type ends struct {
	offsetsOnly
	size       int64
	head, tail []byte
}

func newEnds(size int64) *ends {
	return &ends{size: size, head: make([]byte, FirstUsable*SectorSize), tail: make([]byte, TailSectors*SectorSize)}
}

func (e *ends) tailOffset() int64 { return e.size - int64(len(e.tail)) }

// window returns the bytes of the disk at [offset, offset+n).
func (e *ends) window(offset int64, n int) ([]byte, error) {
	if end := offset + int64(n); offset >= 0 && end <= int64(len(e.head)) {
		return e.head[offset:end], nil
	}
	if at := offset - e.tailOffset(); at >= 0 && at <= int64(len(e.tail)-n) {
		return e.tail[at : at+int64(n)], nil
	}
	return nil, fmt.Errorf("reaching bytes %d to %d: they are outside of the partition tables", offset, offset+int64(n))
}

// WriteAt implements io.WriterAt.
func (e *ends) WriteAt(p []byte, offset int64) (int, error) {
	w, err := e.window(offset, len(p))
	return copy(w, p), err
}

// ReadAt implements io.ReaderAt.
func (e *ends) ReadAt(p []byte, offset int64) (int, error) {
	w, err := e.window(offset, len(p))
	return copy(p, w), err
}

// offsetsOnly completes what go-diskfs takes for a file. Tables are read and
// written at offsets; the size would only be asked for to find the copy of a
// damaged table.
type offsetsOnly struct{}

func (offsetsOnly) Read([]byte) (int, error)       { return 0, errors.ErrUnsupported }
func (offsetsOnly) Seek(int64, int) (int64, error) { return 0, errors.ErrUnsupported }
func (offsetsOnly) Stat() (fs.FileInfo, error)     { return nil, errors.ErrUnsupported }
func (offsetsOnly) Close() error                   { return nil }
