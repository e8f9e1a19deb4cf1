// Package unxz reads .xz files on several cores.
//
// xz and dpkg-deb cut their input into blocks (24 MiB at the usual preset) and
// write both sizes of each block into its header, so that blocks can be found
// without decoding and decoded independently. The container format is read
// here (The .xz File Format 1.2.1). Filters other than LZMA2 are refused: no
// archive that Bootsmith reads uses them.
package unxz

import (
	"bufio"
	"errors"
	"io"
	"sync"
)

const (
	// maxBlock is the largest block, compressed or not, that is decoded in
	// memory; larger ones, and those of unknown size, are streamed.
	maxBlock = 64 << 20
	// maxDict bounds the dictionary that a header can make us allocate; the
	// largest preset, -9, takes 64 MiB.
	maxDict = 256 << 20
	// pieceSize is the unit in which a block is streamed.
	pieceSize = 256 << 10
)

// errClosed ends a scan whose Reader was closed.
var errClosed = errors.New("unxz: reader is closed")

// Reader decompresses an .xz file. Close it to release its goroutines.
type Reader struct {
	queue chan chan piece // one channel for each block, in order
	block chan piece      // the block that is being read
	cur   []byte          // what is left of the piece that is being read
	read  []byte          // the buffer to use again once that is read
	// Buffers to use again: of compressed blocks, and of decompressed ones.
	raw, blocks buffers
	stop        chan struct{}
	once        sync.Once
	wg          sync.WaitGroup
	err         error
}

// piece is a run of decompressed bytes, or the error that ends the file.
type piece struct {
	data []byte
	// block is the buffer that data, and all that came before, are in; nil when
	// more of it follows.
	block []byte
	err   error
}

// buffers keeps some buffers that are not in use.
type buffers chan []byte

// get returns a buffer of that size, a used one where it is large enough.
func (b buffers) get(size int) []byte {
	select {
	case used := <-b:
		if cap(used) >= size {
			return used[:size]
		}
	default:
	}
	return make([]byte, size)
}

func (b buffers) put(used []byte) {
	select {
	case b <- used:
	default:
	}
}

// NewReader returns a reader of r's decompressed bytes, which decodes up to
// workers blocks at a time. It holds at most workers blocks, of 64 MiB at the
// most each, in memory. Errors, a damaged header among them, come from Read.
func NewReader(r io.Reader, workers int) *Reader {
	workers = max(workers, 1)
	z := &Reader{
		queue:  make(chan chan piece, workers-1),
		raw:    make(buffers, workers),
		blocks: make(buffers, workers),
		stop:   make(chan struct{}),
	}
	z.wg.Go(func() {
		defer close(z.queue)
		s := scanner{r: bufio.NewReaderSize(r, 1<<16), z: z}
		if err := s.run(); err != nil {
			z.emit(piece{err: err})
		}
	})
	return z
}

// Read implements io.Reader. Bytes come out before the check value of their
// block and the index of the file are known to be right: only io.EOF says so.
func (z *Reader) Read(p []byte) (int, error) {
	for len(z.cur) == 0 {
		if z.err == nil {
			z.err = z.next()
		}
		if z.err != nil {
			return 0, z.err
		}
	}
	n := copy(p, z.cur)
	z.cur = z.cur[n:]
	return n, nil
}

// next fetches the next piece.
func (z *Reader) next() error {
	if z.read != nil {
		z.blocks.put(z.read)
		z.read = nil
	}
	for {
		if z.block == nil {
			b, ok := <-z.queue
			if !ok {
				return io.EOF
			}
			z.block = b
		}
		p, ok := <-z.block
		if !ok {
			z.block = nil
			continue
		}
		z.read, z.cur = p.block, p.data
		return p.err
	}
}

// Close stops decoding and waits until the underlying reader is no longer
// used. It doesn't close that reader.
func (z *Reader) Close() error {
	z.once.Do(func() { close(z.stop) })
	z.wg.Wait()
	if z.err == nil {
		z.err = errClosed
	}
	z.cur = nil
	return nil
}

// enqueue announces the next block.
func (z *Reader) enqueue(b chan piece) error {
	select {
	case z.queue <- b:
		return nil
	case <-z.stop:
		return errClosed
	}
}

// emit announces a block that is one finished piece.
func (z *Reader) emit(p piece) {
	b := make(chan piece, 1)
	b <- p
	close(b)
	_ = z.enqueue(b) // fails only when nobody reads on
}
