package extent

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// exactReader reads a file that must have exactly the size that was promised:
// a shorter one would shift what follows, a longer one would be cut.
type exactReader struct {
	io.ReadCloser
	name       string
	size, left int64
}

func (p piece) openExact() (*exactReader, error) {
	f, err := p.open()
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", p.name, err)
	}
	return &exactReader{ReadCloser: f, name: p.name, size: p.size, left: p.size}, nil
}

// tell tells an Embedder which file is about to be copied, if it has a name.
func (r *exactReader) tell(w io.Writer) {
	e, wants := w.(Embedder)
	if f, named := r.ReadCloser.(interface{ Name() string }); wants && named {
		e.Embed(f.Name(), r.size)
	}
}

// Read reads up to the promised size; the read that ends there also makes sure
// that the file ends there.
func (r *exactReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, r.atEnd()
	}
	n, err := r.ReadCloser.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	switch {
	case err == io.EOF && r.left > 0:
		return n, fmt.Errorf("reading %q: it has %d bytes, not %d", r.name, r.size-r.left, r.size)
	case err != nil && err != io.EOF:
		return n, fmt.Errorf("reading %q: %w", r.name, err)
	}
	return n, err
}

func (r *exactReader) atEnd() error {
	var one [1]byte
	for {
		n, err := r.ReadCloser.Read(one[:])
		switch {
		case n > 0:
			return fmt.Errorf("reading %q: it has more than %d bytes", r.name, r.size)
		case err == io.EOF:
			return io.EOF
		case err != nil:
			return fmt.Errorf("reading %q: %w", r.name, err)
		}
	}
}

// NewReader returns the image as a stream of Size bytes. Reads fail once ctx is
// done. Close it to close the file that is being read.
func (m *Image) NewReader(ctx context.Context) (io.ReadCloser, error) {
	leaves, err := m.leaves(0)
	if err != nil {
		return nil, err
	}
	return &reader{ctx: ctx, leaves: leaves, size: m.size}, nil
}

type reader struct {
	ctx    context.Context
	leaves []piece // not yet begun
	cur    io.ReadCloser
	pos    int64
	size   int64
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if r.cur != nil {
			n, err := r.cur.Read(b)
			r.pos += int64(n)
			if err == io.EOF {
				err = r.next()
			}
			if n > 0 || err != nil {
				return n, err
			}
			continue
		}
		if n := r.zeros(b); n > 0 {
			return n, nil
		}
		if len(r.leaves) == 0 {
			return 0, io.EOF
		}
		if err := r.begin(); err != nil {
			return 0, err
		}
	}
}

// zeros fills b with the background up to the next piece.
func (r *reader) zeros(b []byte) int {
	end := r.size
	if len(r.leaves) > 0 {
		end = r.leaves[0].offset
	}
	n := int(min(int64(len(b)), end-r.pos))
	clear(b[:n])
	r.pos += int64(n)
	return n
}

func (r *reader) begin() error {
	p := r.leaves[0]
	r.leaves = r.leaves[1:]
	if p.open == nil {
		r.cur = io.NopCloser(bytes.NewReader(p.data))
		return nil
	}
	f, err := p.openExact()
	if err != nil {
		return err
	}
	r.cur = f
	return nil
}

func (r *reader) next() error {
	err := r.cur.Close()
	r.cur = nil
	return err
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.cur == nil {
		return nil
	}
	return r.next()
}
