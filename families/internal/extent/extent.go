// Package extent describes an image (a disk, a file system) as pieces of
// content at fixed offsets over a background of zeros. The pieces are bytes in
// memory, files that are opened when their turn comes, and other images, so an
// image of any size takes little memory and is written from front to back.
package extent

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// Writer takes an image from front to back.
type Writer interface {
	io.Writer
	// Skip appends n zero bytes, as a hole where the medium has holes.
	Skip(n int64) error
}

// Embedder is a Writer that wants to know which files an image embeds.
type Embedder interface {
	// Embed says that the next size bytes are those of the file at path.
	Embed(path string, size int64)
}

// Image is an image of Size bytes. Pieces may be added in any order; those that
// overlap or do not fit are reported when the image is written.
type Image struct {
	size   int64
	pieces []piece
}

// piece is one extent; exactly one of data, open and image holds its content.
type piece struct {
	offset, size int64
	name         string // for errors
	data         []byte
	open         func() (io.ReadCloser, error)
	image        *Image
}

// New returns an image of size zero bytes.
func New(size int64) *Image { return &Image{size: size} }

// Size returns the size in bytes.
func (m *Image) Size() int64 { return m.size }

// AddBytes puts data at offset. The image keeps the slice.
func (m *Image) AddBytes(offset int64, data []byte) {
	m.add(piece{offset: offset, size: int64(len(data)), name: "metadata", data: data})
}

// AddFile puts a file of exactly size bytes at offset; name stands for it in
// errors. It is opened each time the image is written.
func (m *Image) AddFile(offset, size int64, name string, open func() (io.ReadCloser, error)) {
	m.add(piece{offset: offset, size: size, name: name, open: open})
}

// AddImage puts a whole image, with its zeros, at offset. Pieces that are added
// to it later are part of it.
func (m *Image) AddImage(offset int64, name string, image *Image) {
	m.add(piece{offset: offset, size: image.size, name: name, image: image})
}

func (m *Image) add(p piece) {
	if p.size != 0 {
		m.pieces = append(m.pieces, p)
	}
}

// leaves returns the pieces with content, in order, at their offsets in the
// outermost image.
func (m *Image) leaves(base int64) ([]piece, error) {
	sorted := slices.Clone(m.pieces)
	slices.SortStableFunc(sorted, func(a, b piece) int {
		switch {
		case a.offset < b.offset:
			return -1
		case a.offset > b.offset:
			return 1
		}
		return 0
	})
	var out []piece
	end := int64(0)
	for _, p := range sorted {
		if p.size < 0 || p.offset < end || p.offset > m.size-p.size {
			return nil, fmt.Errorf("placing %q at byte %d (%d bytes): the image has %d bytes, of which the first %d are taken",
				p.name, p.offset, p.size, m.size, end)
		}
		end = p.offset + p.size
		if p.image == nil {
			p.offset += base
			out = append(out, p)
			continue
		}
		inner, err := p.image.leaves(base + p.offset)
		if err != nil {
			return nil, fmt.Errorf("laying out %q: %w", p.name, err)
		}
		out = append(out, inner...)
	}
	return out, nil
}

// bufferSize is large enough to make system calls cheap and small enough to
// notice a cancelled context at once.
const bufferSize = 1 << 18

// Copy writes the image to w. It stops soon after ctx is done.
func (m *Image) Copy(ctx context.Context, w Writer) error {
	leaves, err := m.leaves(0)
	if err != nil {
		return err
	}
	buf := make([]byte, bufferSize)
	pos := int64(0)
	for _, p := range leaves {
		if err := skip(w, p.offset-pos); err != nil {
			return err
		}
		if err := p.copy(ctx, w, buf); err != nil {
			return err
		}
		pos = p.offset + p.size
	}
	return skip(w, m.size-pos)
}

func skip(w Writer, n int64) error {
	if n == 0 {
		return nil
	}
	return w.Skip(n)
}

func (p piece) copy(ctx context.Context, w io.Writer, buf []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.open == nil {
		_, err := w.Write(p.data)
		return err
	}
	f, err := p.openExact()
	if err != nil {
		return err
	}
	defer f.Close()
	f.tell(w)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
