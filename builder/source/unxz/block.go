package unxz

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/powernode/bootsmith/builder/source/unxz/lzma2"
)

// lzma2ID is the filter ID of LZMA2 (section 5.3.1).
const lzma2ID = 0x21

// blockHeader is a block header (section 3.1); unknown sizes are -1.
type blockHeader struct {
	size         int64 // of the header
	compressed   int64
	uncompressed int64
	dict         int64
	check        byte // the check's ID (section 2.1.1.2)
}

// readBlockHeader reads the header whose first byte, size, has been read.
func readBlockHeader(r io.Reader, size byte) (blockHeader, error) {
	raw := make([]byte, (int(size)+1)*4)
	raw[0] = size
	if _, err := io.ReadFull(r, raw[1:]); err != nil {
		return blockHeader{}, err
	}
	end := len(raw) - 4
	if crc32.ChecksumIEEE(raw[:end]) != binary.LittleEndian.Uint32(raw[end:]) {
		return blockHeader{}, errors.New("unxz: a block header's checksum is wrong")
	}
	h := blockHeader{size: int64(len(raw)), compressed: -1, uncompressed: -1}
	flags, in := raw[1], bytes.NewReader(raw[2:end])
	if flags&0x3f != 0 {
		return h, errors.New("unxz: a block uses other filters than LZMA2")
	}
	var err error
	if flags&0x40 != 0 {
		if h.compressed, err = readVarint(in); err != nil || h.compressed == 0 {
			return h, errBlockHeader
		}
	}
	if flags&0x80 != 0 {
		if h.uncompressed, err = readVarint(in); err != nil {
			return h, errBlockHeader
		}
	}
	return h, h.readFilter(in)
}

var errBlockHeader = errors.New("unxz: a block header is malformed")

// readFilter reads the flags of the only filter and the header's padding.
func (h *blockHeader) readFilter(in *bytes.Reader) error {
	var f [3]byte
	if _, err := io.ReadFull(in, f[:]); err != nil {
		return errBlockHeader
	}
	if f[0] != lzma2ID || f[1] != 1 {
		return errors.New("unxz: a block uses other filters than LZMA2")
	}
	var err error
	if h.dict, err = lzma2.DictSize(f[2]); err != nil {
		return errBlockHeader
	}
	if h.dict > maxDict {
		return fmt.Errorf("unxz: a block needs a dictionary of %d bytes; the limit is %d", h.dict, maxDict)
	}
	for in.Len() > 0 {
		if b, _ := in.ReadByte(); b != 0 {
			return errBlockHeader
		}
	}
	return nil
}

// measured files the block's sizes for the comparison with the index.
func (h blockHeader) measured(compressed, uncompressed int64, s *scanner) {
	s.records = append(s.records, record{h.size + compressed + checkSize(h.check), uncompressed})
}

// decoder reads one block's decompressed bytes and checks its sizes, padding and
// check.
type decoder struct {
	h   blockHeader
	in  *countingReader
	lz  *lzma2.Decoder
	sum hash.Hash // nil: the check is of a kind that can't be checked
	n   int64
}

// decoder returns a decoder that decodes with lz, to which it adds input.
func (h blockHeader) decoder(r io.Reader, lz *lzma2.Decoder) *decoder {
	d := &decoder{h: h, in: &countingReader{r: r}, lz: lz}
	switch h.check {
	case 1:
		d.sum = crc32.NewIEEE()
	case 4:
		d.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		d.sum = sha256.New()
	}
	return d
}

// next returns some bytes, which the next call may overwrite. It returns io.EOF
// when all is known to be right.
func (d *decoder) next() ([]byte, error) {
	chunk, err := d.lz.Next()
	d.n += int64(len(chunk))
	if d.sum != nil {
		d.sum.Write(chunk)
	}
	switch {
	case d.h.uncompressed >= 0 && d.n > d.h.uncompressed:
		return nil, errors.New("unxz: a block is longer than its header says")
	case err == io.EOF:
		if err := d.finish(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	case err != nil:
		return nil, fmt.Errorf("unxz: %w", err)
	}
	return chunk, nil
}

// finish reads padding and check (sections 3.3 and 3.4).
func (d *decoder) finish() error {
	if (d.h.uncompressed >= 0 && d.n != d.h.uncompressed) || (d.h.compressed >= 0 && d.in.n != d.h.compressed) {
		return errors.New("unxz: a block's size differs from its header's")
	}
	pad := padding(d.in.n)
	tail := make([]byte, pad+checkSize(d.h.check))
	if _, err := io.ReadFull(d.in.r, tail); err != nil {
		return unexpected(err)
	}
	for _, b := range tail[:pad] {
		if b != 0 {
			return errors.New("unxz: a block's padding is wrong")
		}
	}
	if d.sum != nil && !bytes.Equal(d.sumBytes(), tail[pad:]) {
		return errors.New("unxz: a block's check value is wrong")
	}
	return nil
}

// sumBytes returns the check as it is stored: CRCs are little-endian.
func (d *decoder) sumBytes() []byte {
	b := d.sum.Sum(nil)
	if d.h.check != 10 {
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
	}
	return b
}

// checkSize returns the bytes of a check (section 2.1.1.2).
func checkSize(id byte) int64 {
	if id == 0 {
		return 0
	}
	return 4 << ((id - 1) / 3)
}

func padding(n int64) int64 { return -n & 3 }
