// Package lzma2 decodes LZMA2, the one filter of .xz files that packages and
// kernel modules use. It is written for speed: an operating system's packages
// are mostly LZMA2, and decoding them is most of the work of building it.
//
// LZMA2 is a sequence of chunks, each with up to 2 MiB of content and at most
// 64 KiB of LZMA, or the content as it is. A chunk is read whole, so that the
// decoder works on memory alone (The .xz File Format 1.2.1, section 5.3.1, and
// the LZMA specification that it refers to).
package lzma2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// MaxChunk is the largest content of a chunk, in bytes.
	MaxChunk = 1 << 21
	// maxPacked is the most LZMA in a chunk, in bytes.
	maxPacked = 1 << 16
	// slideAlign is what the content is moved by a multiple of, when it is: the
	// models look at the lowest four bits of positions.
	slideAlign = 16
	// firstRoom is the least memory for content, in bytes.
	firstRoom = 64 << 10
)

var (
	errChunk = errors.New("lzma2: a chunk's header is wrong")
	errData  = errors.New("lzma2: the data is damaged")
	errRoom  = errors.New("lzma2: there is more content than was said")
)

// Decoder decodes one LZMA2 stream after the other. The zero value is ready for
// Reset.
type Decoder struct {
	r     io.Reader
	dict  int    // how far back matches reach, in bytes
	buf   []byte // content: what matches refer to, then the newest chunk
	end   int    // of the content in buf
	whole bool   // buf is for all content
	// start is where the dictionary began in buf; below 0 when that was moved
	// out.
	start int

	needDict, needProps bool

	lzma
	in [maxPacked + inputSlack]byte
}

// DictSize returns the size of the dictionary, in bytes, that the filter's
// property byte asks for.
func DictSize(property byte) (int64, error) {
	switch {
	case property > 40:
		return 0, fmt.Errorf("lzma2: %d is no size of a dictionary", property)
	case property == 40:
		return 1<<32 - 1, nil
	}
	return (2 | int64(property)&1) << (property/2 + 11), nil
}

// Reset makes the decoder ready for the stream that r holds. Matches reach dict
// bytes back. The decoder takes memory of its own for the content, up to 2 MiB more
// than twice dict, and keeps it for the next stream.
func (d *Decoder) Reset(r io.Reader, dict int) {
	if d.whole {
		d.buf, d.whole = nil, false
	}
	d.reset(r, dict)
}

// ResetInto is like Reset, but all content goes into buf, and stays there. More
// content than that is an error.
func (d *Decoder) ResetInto(buf []byte, r io.Reader, dict int) {
	d.buf, d.whole = buf, true
	d.reset(r, dict)
}

func (d *Decoder) reset(r io.Reader, dict int) {
	d.r, d.dict = r, dict
	d.end, d.start = 0, 0
	d.needDict, d.needProps = true, true
}

// Next decodes a chunk and returns its content; after Reset, the next call may
// overwrite it. io.EOF is returned after the mark that ends the stream.
func (d *Decoder) Next() ([]byte, error) {
	var h [6]byte
	if _, err := io.ReadFull(d.r, h[:1]); err != nil {
		return nil, unexpected(err)
	}
	control := h[0]
	switch {
	case control == 0:
		return nil, io.EOF
	case control >= 0xe0 || control == 1: // a new dictionary
		d.needDict, d.needProps = false, true
		d.start = d.end
	case d.needDict || control > 2 && control < 0x80:
		return nil, errChunk
	}
	rest := h[1:3]
	switch {
	case control >= 0xc0:
		rest = h[1:6]
	case control >= 0x80:
		rest = h[1:5]
	}
	if _, err := io.ReadFull(d.r, rest); err != nil {
		return nil, unexpected(err)
	}
	size := int(binary.BigEndian.Uint16(h[1:])) + 1
	if control < 0x80 {
		return d.stored(size)
	}
	size += int(control&0x1f) << 16
	if err := d.prepare(control, h[5]); err != nil {
		return nil, err
	}
	return d.packed(size, int(binary.BigEndian.Uint16(h[3:]))+1)
}

// prepare does what a chunk with LZMA says about its state: the two bits behind
// the first say whether it is kept, reset, or gets new properties as well.
func (d *Decoder) prepare(control, props byte) error {
	switch {
	case control >= 0xc0:
		if !d.setProps(props) {
			return errChunk
		}
		d.needProps = false
	case d.needProps:
		return errChunk
	case control < 0xa0:
		return nil
	}
	d.resetState()
	return nil
}

// stored reads a chunk that isn't compressed.
func (d *Decoder) stored(size int) ([]byte, error) {
	if err := d.makeRoom(size); err != nil {
		return nil, err
	}
	chunk := d.buf[d.end : d.end+size]
	if _, err := io.ReadFull(d.r, chunk); err != nil {
		return nil, unexpected(err)
	}
	d.end += size
	return chunk, nil
}

// packed reads a chunk of LZMA.
func (d *Decoder) packed(size, packed int) ([]byte, error) {
	if _, err := io.ReadFull(d.r, d.in[:packed]); err != nil {
		return nil, unexpected(err)
	}
	clear(d.in[packed : packed+inputSlack])
	if err := d.makeRoom(size); err != nil {
		return nil, err
	}
	begin := d.end
	if !d.decode(d.in[:packed+inputSlack], size) {
		return nil, errData
	}
	return d.buf[begin:d.end], nil
}

// makeRoom makes sure that size bytes fit behind the content. It drops what is
// beyond the reach of matches as soon as that is as much as what it has to move.
func (d *Decoder) makeRoom(size int) error {
	if d.end+size <= len(d.buf) {
		return nil
	}
	if d.whole {
		return errRoom
	}
	keep := min(d.end-d.start, d.dict)
	drop := (d.end - keep) / slideAlign * slideAlign
	if drop < keep || d.end-drop+size > len(d.buf) {
		limit := 2*d.dict + MaxChunk + slideAlign // is always enough
		larger := make([]byte, max(min(2*len(d.buf), limit), d.end+size, firstRoom))
		copy(larger, d.buf[:d.end])
		d.buf = larger
		return nil
	}
	copy(d.buf, d.buf[drop:d.end])
	d.end -= drop
	d.start -= drop
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
