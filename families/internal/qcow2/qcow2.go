// Package qcow2 writes and reads QEMU's disk image format, version 3, with compressed
// clusters (docs/interop/qcow2.txt in QEMU's source).
//
// A disk is written from front to back, and so is the file. Where each cluster
// lies is known only at the end but stands first in the file, therefore the
// clusters wait in temporary files meanwhile. All clusters have 64 KiB:
//
//	header | refcount table | refcount blocks | L1 table | L2 tables |
//	clusters stored as they are | compressed clusters, packed without gaps
//
// Clusters of zeros are not stored. The bytes depend on the disk's content
// only, not on how it is cut into writes or on the number of CPUs.
package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/powernode/bootsmith/families/internal/extent"
)

const (
	clusterBits = 16
	clusterSize = 1 << clusterBits
	l2Entries   = clusterSize / 8
	// maxSize keeps the L1 table within the 32 MiB that QEMU accepts.
	maxSize = int64(32<<20/8) * l2Entries * clusterSize
)

// Options says how to write an image.
type Options struct {
	// Size is the size of the virtual disk in bytes, a multiple of 512.
	Size int64
	// Scratch is a folder for temporary files, which Close deletes.
	Scratch string
	// Workers is the number of clusters to compress at the same time.
	Workers int
}

// Writer takes the content of the disk, from front to back.
type Writer struct {
	size  int64
	pos   int64
	index int64 // of the current cluster
	job   *job  // its bytes so far
	pool  *pool
	spool *spool
	err   error // the first one; nothing works after it
}

var _ extent.Writer = (*Writer)(nil)

// NewWriter returns a writer that fails once ctx is done. Close it in any case.
func NewWriter(ctx context.Context, opts Options) (*Writer, error) {
	if opts.Size <= 0 || opts.Size%512 != 0 || opts.Size > maxSize {
		return nil, fmt.Errorf("writing a qcow2 image of %d bytes: the size must be a multiple of 512 up to %d", opts.Size, maxSize)
	}
	spool, err := newSpool(opts.Scratch)
	if err != nil {
		return nil, fmt.Errorf("writing a qcow2 image: %w", err)
	}
	w := &Writer{size: opts.Size, pool: newPool(ctx, max(opts.Workers, 1), spool.add), spool: spool}
	w.job, err = w.pool.next()
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Write appends p to the disk.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.advance(int64(len(p))); err != nil {
		return 0, err
	}
	rest := p
	for len(rest) > 0 {
		n := min(len(rest), clusterSize-len(w.job.data))
		if err := w.fill(rest[:n]); err != nil {
			return len(p) - len(rest), err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// Skip appends n zero bytes to the disk. Whole clusters of them cost nothing.
func (w *Writer) Skip(n int64) error {
	if err := w.advance(n); err != nil {
		return err
	}
	if len(w.job.data) > 0 {
		k := min(n, int64(clusterSize-len(w.job.data)))
		if err := w.fill(zeros[:k]); err != nil {
			return err
		}
		n -= k
	}
	w.index += n / clusterSize
	return w.fill(zeros[:n%clusterSize])
}

func (w *Writer) advance(n int64) error {
	if w.err != nil {
		return w.err
	}
	if n < 0 || n > w.size-w.pos {
		return fmt.Errorf("writing %d bytes at byte %d of a virtual disk of %d bytes", n, w.pos, w.size)
	}
	w.pos += n
	return nil
}

var zeros [clusterSize]byte

// fill appends to the current cluster, in which p fits, and hands it on when it
// is complete.
func (w *Writer) fill(p []byte) error {
	w.job.data = append(w.job.data, p...)
	if len(w.job.data) < clusterSize {
		return nil
	}
	w.job.index = w.index
	w.index++
	if bytes.Equal(w.job.data, zeros[:]) {
		w.job.data = w.job.data[:0]
		return nil
	}
	next, err := w.pool.submit(w.job)
	if err != nil {
		w.err = fmt.Errorf("writing a qcow2 image: %w", err)
		return w.err
	}
	w.job = next
	return nil
}

// Finish writes the file and is the last call but Close. The whole disk must have been written.
func (w *Writer) Finish(out extent.Writer) error {
	if err := w.advance(0); err != nil {
		return err
	}
	if w.pos != w.size {
		return fmt.Errorf("finishing a qcow2 image: %d of %d bytes were written", w.pos, w.size)
	}
	if n := len(w.job.data); n > 0 {
		if err := w.fill(zeros[n:]); err != nil {
			return err
		}
	}
	w.err = errors.New("writing a qcow2 image: it is finished")
	if err := w.pool.wait(); err != nil {
		return fmt.Errorf("finishing a qcow2 image: %w", err)
	}
	if err := w.spool.write(w.pool.ctx, w.size, out); err != nil {
		return fmt.Errorf("finishing a qcow2 image: %w", err)
	}
	return nil
}

// Close ends the work and deletes the temporary files.
func (w *Writer) Close() error {
	w.pool.stop()
	return w.spool.close()
}
