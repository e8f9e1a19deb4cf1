package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/powernode/bootsmith/builder/source/unxz"
)

// maxWindow bounds the memory that a zstd frame can ask for, in bytes: what
// zstd -22 --ultra uses.
const maxWindow = 128 << 20

// Decompress returns what r holds without its compression, which is told by the
// first bytes: gzip (RFC 1952), xz, zstd (RFC 8878, skippable frames included)
// or none. workers blocks of an xz file are decoded at a time. The reader must
// be closed before r is used again; it may have read more than it gave.
func Decompress(r io.Reader, workers int) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	magic, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return unxz.NewReader(in, workers), nil
	case isZstd(magic):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(workers), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("reading the archive: %w", err)
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(magic, []byte("BZh")):
		return nil, errors.New("reading the archive: bzip2 is not supported; use gzip, xz or zstd")
	}
	return io.NopCloser(in), nil
}

func isZstd(magic []byte) bool {
	return bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(magic) >= 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:4], []byte{0x2a, 0x4d, 0x18})
}
