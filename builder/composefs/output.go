package composefs

import (
	"bufio"
	"io"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
)

// output is a buffered writer that knows its position. Its errors stay until
// flush returns them.
type output struct {
	buf *bufio.Writer
	pos int64 // bytes written so far

	zero [erofs.BlockSize]byte
}

func newOutput(w io.Writer) *output { return &output{buf: bufio.NewWriterSize(w, 128<<10)} }

func (o *output) Write(p []byte) (int, error) {
	n, err := o.buf.Write(p)
	o.pos += int64(n)
	return n, err
}

func (o *output) zeros(n int64) {
	for ; n > 0; n -= erofs.BlockSize {
		o.Write(o.zero[:min(n, erofs.BlockSize)])
	}
}

// fillBlock writes zeros up to the next block.
func (o *output) fillBlock() { o.zeros(align(o.pos, erofs.BlockSize) - o.pos) }

func (o *output) flush() error { return o.buf.Flush() }
