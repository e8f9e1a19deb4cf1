package deb

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
)

// arReader reads the members of an ar archive, as deb(5) describes them: 60
// bytes of header (name at 0, 16 bytes; decimal size at 48, 10 bytes; "`\n" at
// 58), the data, and padding to an even offset.
type arReader struct {
	r    io.Reader
	data *io.LimitedReader // of the current member
	pad  int64
}

func newArReader(r io.Reader) (*arReader, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != arMagic {
		return nil, errors.Join(errors.New("not a .deb file: no ar archive"), err)
	}
	return &arReader{r: r, data: &io.LimitedReader{R: r}}, nil
}

// next moves to the next member, whose data a.data reads; io.EOF after the last.
func (a *arReader) next() (name string, err error) {
	if _, err := io.CopyN(io.Discard, a.r, a.data.N+a.pad); err != nil {
		if err == io.EOF && a.data.N == 0 {
			return "", io.EOF // the last member's padding may be missing
		}
		return "", unexpected(err)
	}
	var h [arHeaderSize]byte
	if _, err := io.ReadFull(a.r, h[:]); err != nil {
		return "", err
	}
	size, err := strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 64)
	if err != nil || size < 0 || string(h[58:]) != "`\n" {
		return "", fmt.Errorf("an ar member's header is malformed: %.60q", h)
	}
	a.data.N, a.pad = size, size&1
	return strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/"), nil
}

// Read reads the current member. The end of the file within it is an error.
func (a *arReader) Read(p []byte) (int, error) {
	n, err := a.data.Read(p)
	if err == io.EOF && a.data.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
