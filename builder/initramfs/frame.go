package initramfs

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// frameAlign is what an initramfs' length is a multiple of, in bytes. Any boot
// loader can then put an uncompressed archive behind it, which Linux only takes
// at a multiple of 4: what is needed to unpack little comes first, so that init
// runs and explains when the memory is too small for the rest.
const frameAlign = 512

// frame writes one zstd frame (RFC 8878) of aligned length. Linux knows no
// skippable frames and zstd(1) refuses bytes between frames, so the padding is
// content: the frame's last block holds zeros, uncompressed, and a cpio archive
// may end in any number of them.
type frame struct {
	out *countingWriter
	end *endless
	z   *zstd.Encoder
	sum *xxhash.Digest
}

// endless passes data on until it is closed, and drops it then.
type endless struct {
	w      io.Writer
	closed bool
}

func (e *endless) Write(p []byte) (int, error) {
	if e.closed {
		return len(p), nil
	}
	return e.w.Write(p)
}

func newFrame(w io.Writer) (*frame, error) {
	out := &countingWriter{w: w}
	end := &endless{w: out}
	// One goroutine: the frame doesn't depend on the number of CPUs. The window
	// stays within the 128 MiB that Linux accepts.
	z, err := zstd.NewWriter(end, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	return &frame{out: out, end: end, z: z, sum: xxhash.New()}, err
}

func (f *frame) Write(p []byte) (int, error) {
	f.sum.Write(p)
	return f.z.Write(p)
}

// Sizes of a frame's parts, in bytes.
const (
	blockHeader   = 3
	frameChecksum = 4
)

// Close ends the frame: it has the encoder write out what it has, and writes the
// last block and the checksum itself.
func (f *frame) Close() error {
	err := f.z.Flush()
	f.end.closed = true
	if err := errors.Join(err, f.z.Close()); err != nil {
		return err
	}
	used := f.out.n + blockHeader + frameChecksum
	padding := (frameAlign - used%frameAlign) % frameAlign
	f.sum.Write(make([]byte, padding))
	// Little-endian: one bit "last block", two bits "raw block", then the size.
	last := binary.LittleEndian.AppendUint32(nil, 1|uint32(padding)<<3)[:blockHeader]
	last = append(last, make([]byte, padding)...)
	last = binary.LittleEndian.AppendUint32(last, uint32(f.sum.Sum64()))
	_, err = f.out.Write(last)
	return err
}
