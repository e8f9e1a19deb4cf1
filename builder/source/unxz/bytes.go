package unxz

import (
	"errors"
	"hash"
	"io"
)

// countingReader counts the bytes read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// hashedBytes reads bytes one by one, counting and hashing them.
type hashedBytes struct {
	r   io.ByteReader
	sum hash.Hash32
	n   int64
}

// ReadByte implements io.ByteReader.
func (h *hashedBytes) ReadByte() (byte, error) {
	b, err := h.r.ReadByte()
	if err != nil {
		return 0, err
	}
	h.n++
	h.sum.Write([]byte{b})
	return b, nil
}

// readVarint reads a multibyte integer (section 1.2): seven bits a byte, the
// lowest first, at most nine bytes, and no needless ones.
func readVarint(r io.ByteReader) (int64, error) {
	var v int64
	for i := 0; i < 9; i++ {
		b, err := r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		v |= int64(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			if b == 0 && i > 0 {
				break
			}
			return v, nil
		}
	}
	return 0, errors.New("unxz: an integer is malformed")
}
