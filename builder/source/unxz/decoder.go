package unxz

import (
	"bufio"
	"fmt"
	"io"
)

// Decoder decompresses one .xz file after the other and keeps its memory for the
// next: for many small ones. The zero value is ready to use. It is not safe for
// concurrent use.
type Decoder struct {
	scanner scanner
	in      *bufio.Reader
}

// Append appends the decompressed bytes of r to dst, whose length may be limit
// at the most. It returns an error unless all of r was found right.
func (d *Decoder) Append(dst []byte, r io.Reader, limit int) ([]byte, error) {
	if d.in == nil {
		d.in = bufio.NewReaderSize(nil, 1<<16)
	}
	d.in.Reset(r)
	d.scanner.r = d.in
	d.scanner.take = func(chunk []byte) error {
		if len(chunk) > limit-len(dst) {
			return fmt.Errorf("unxz: the content is larger than %d bytes", limit)
		}
		dst = append(dst, chunk...)
		return nil
	}
	return dst, d.scanner.run()
}
