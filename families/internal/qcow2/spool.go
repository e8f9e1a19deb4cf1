package qcow2

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"

	"github.com/powernode/bootsmith/families/internal/extent"
)

// spool holds the clusters until their places in the file are known.
type spool struct {
	raw, packed *area
	entries     []entry // in the order of the disk
}

// area is a temporary file that only grows.
type area struct {
	f    *os.File
	buf  *bufio.Writer
	size int64
}

func newSpool(dir string) (*spool, error) {
	raw, err := newArea(dir)
	if err != nil {
		return nil, err
	}
	packed, err := newArea(dir)
	if err != nil {
		return nil, errors.Join(err, raw.close())
	}
	return &spool{raw: raw, packed: packed}, nil
}

func newArea(dir string) (*area, error) {
	f, err := os.CreateTemp(dir, "qcow2-*")
	if err != nil {
		return nil, err
	}
	return &area{f: f, buf: bufio.NewWriterSize(f, 1<<18)}, nil
}

// add stores a finished cluster, compressed when that saves a sector at least.
func (s *spool) add(j *job) error {
	a, data, size := s.packed, j.packed.Bytes(), int64(j.packed.Len())
	if size > clusterSize-512 {
		a, data, size = s.raw, j.data, 0
	}
	s.entries = append(s.entries, entry{index: j.index, offset: a.size, size: size})
	n, err := a.buf.Write(data)
	a.size += int64(n)
	return err
}

// write writes the file: first all that is computed, then the clusters.
func (s *spool) write(ctx context.Context, size int64, out extent.Writer) error {
	l := newLayout(size, s.entries, s.raw.size, s.packed.size)
	l1, l2 := l.tables(s.entries)
	for _, part := range [][]byte{l.header(), l.refTableBytes(), l.refBlockBytes(s.entries), l1, l2} {
		if _, err := out.Write(part); err != nil {
			return err
		}
	}
	for _, a := range []*area{s.raw, s.packed} {
		if err := a.copyTo(ctx, out); err != nil {
			return err
		}
	}
	if gap := l.packed*clusterSize - s.packed.size; gap > 0 {
		return out.Skip(gap)
	}
	return nil
}

func (a *area) copyTo(ctx context.Context, out io.Writer) error {
	if err := a.buf.Flush(); err != nil {
		return err
	}
	if _, err := a.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	buf := make([]byte, clusterSize)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := a.f.Read(buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
	}
}

func (a *area) close() error {
	return errors.Join(a.f.Close(), os.Remove(a.f.Name()))
}

func (s *spool) close() error {
	return errors.Join(s.raw.close(), s.packed.close())
}
