package unxz

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/powernode/bootsmith/builder/source/unxz/lzma2"
)

var (
	headerMagic = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	footerMagic = []byte{'Y', 'Z'}
)

var errNotXZ = errors.New("unxz: not an .xz file")

// scanner walks the containers of a file: streams, blocks, index.
type scanner struct {
	r       *bufio.Reader
	z       *Reader
	take    func(chunk []byte) error // decompressed bytes; nil: z takes them
	lz      lzma2.Decoder            // of blocks that are decoded here
	records []record
}

// record is what the index says of a block.
type record struct{ unpadded, uncompressed int64 }

// run reads one or more streams with their padding (section 2).
func (s *scanner) run() error {
	for first := true; ; first = false {
		if !first {
			more, err := s.skipPadding()
			if err != nil || !more {
				return err
			}
		}
		if err := s.stream(); err != nil {
			return unexpected(err)
		}
	}
}

// skipPadding passes over stream padding and tells whether a stream follows.
func (s *scanner) skipPadding() (bool, error) {
	for {
		word, err := s.r.Peek(4)
		if len(word) == 0 && err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, unexpected(err)
		}
		if binary.LittleEndian.Uint32(word) != 0 {
			return true, nil
		}
		if _, err := s.r.Discard(4); err != nil {
			return false, err
		}
	}
}

// stream reads a stream: header (section 2.1.1), blocks, index, footer.
func (s *scanner) stream() error {
	var h [12]byte
	if _, err := io.ReadFull(s.r, h[:]); err != nil {
		return err
	}
	if !bytes.Equal(h[:6], headerMagic) {
		return errNotXZ
	}
	if crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return errors.New("unxz: the stream header's checksum is wrong")
	}
	if h[6] != 0 || h[7]&0xf0 != 0 {
		return errors.New("unxz: the stream header has unknown flags")
	}
	s.records = s.records[:0]
	for {
		size, err := s.r.ReadByte()
		if err != nil {
			return err
		}
		if size == 0 {
			return s.tail(h[6:8])
		}
		if err := s.block(size, h[7]); err != nil {
			return err
		}
	}
}

// block reads a block (section 3): it hands it to a goroutine when it is of a
// known and bounded size and z is there, and decodes it here otherwise.
func (s *scanner) block(size, check byte) error {
	h, err := readBlockHeader(s.r, size)
	if err != nil {
		return err
	}
	h.check = check
	if s.take != nil {
		return s.decodeTo(h, s.take)
	}
	if h.compressed < 0 || h.uncompressed < 0 || h.compressed > maxBlock || h.uncompressed > maxBlock {
		return s.streamBlock(h)
	}
	raw := s.z.raw.get(int(h.compressed + padding(h.compressed) + checkSize(check)))
	if _, err := io.ReadFull(s.r, raw); err != nil {
		return err
	}
	// Room for the whole block, and for an error: the goroutine never waits.
	out := make(chan piece, h.uncompressed/pieceSize+2)
	if err := s.z.enqueue(out); err != nil {
		return err
	}
	s.z.wg.Go(func() {
		defer close(out)
		if err := s.decode(h, raw, out); err != nil {
			out <- piece{err: unexpected(err)}
		}
	})
	h.measured(h.compressed, h.uncompressed, s)
	return nil
}

// decode decodes a block that is in memory, as a whole.
func (s *scanner) decode(h blockHeader, raw []byte, out chan<- piece) error {
	defer s.z.raw.put(raw)
	whole := s.z.blocks.get(int(h.uncompressed))
	lz := new(lzma2.Decoder)
	d := h.decoder(bytes.NewReader(raw), lz)
	lz.ResetInto(whole, d.in, int(h.dict))
	sent := int64(0)
	for {
		_, err := d.next()
		switch {
		case err == io.EOF:
			out <- piece{data: whole[sent:d.n], block: whole}
			return nil
		case err != nil:
			return err
		case d.n-sent >= pieceSize:
			out <- piece{data: whole[sent:d.n]}
			sent = d.n
		}
		select {
		case <-s.z.stop:
			return errClosed
		default:
		}
	}
}

// streamBlock decodes a block piece by piece.
func (s *scanner) streamBlock(h blockHeader) error {
	out := make(chan piece)
	defer close(out)
	if err := s.z.enqueue(out); err != nil {
		return err
	}
	return s.decodeTo(h, func(chunk []byte) error { return s.send(chunk, out) })
}

// decodeTo decodes a block as it is read.
func (s *scanner) decodeTo(h blockHeader, take func(chunk []byte) error) error {
	d := h.decoder(s.r, &s.lz)
	s.lz.Reset(d.in, int(h.dict))
	for {
		chunk, err := d.next()
		if err == io.EOF {
			h.measured(d.in.n, d.n, s)
			return nil
		}
		if err == nil {
			err = take(chunk)
		}
		if err != nil {
			return err
		}
	}
}

// send sends a copy of a chunk.
func (s *scanner) send(chunk []byte, out chan<- piece) error {
	for len(chunk) > 0 {
		part := s.z.blocks.get(min(len(chunk), pieceSize))
		chunk = chunk[copy(part, chunk):]
		select {
		case out <- piece{data: part, block: part}:
		case <-s.z.stop:
			return errClosed
		}
	}
	return nil
}

// tail reads the index (section 4) after its indicator byte, and the stream
// footer (section 2.1.2), and compares them with the blocks.
func (s *scanner) tail(flags []byte) error {
	sum := crc32.NewIEEE()
	sum.Write([]byte{0})
	in := &hashedBytes{r: s.r, sum: sum, n: 1}
	count, err := readVarint(in)
	if err != nil {
		return err
	}
	if count != int64(len(s.records)) {
		return fmt.Errorf("unxz: the index lists %d blocks; there are %d", count, len(s.records))
	}
	for i, want := range s.records {
		var got record
		if got.unpadded, err = readVarint(in); err != nil {
			return err
		}
		if got.uncompressed, err = readVarint(in); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("unxz: the index disagrees with block %d", i)
		}
	}
	for in.n%4 != 0 {
		if b, err := in.ReadByte(); err != nil || b != 0 {
			return errors.Join(errors.New("unxz: the index's padding is wrong"), err)
		}
	}
	var f [16]byte // the index's CRC32, then the footer
	if _, err := io.ReadFull(s.r, f[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	switch {
	case le.Uint32(f[:]) != sum.Sum32():
		return errors.New("unxz: the index's checksum is wrong")
	case le.Uint32(f[4:]) != crc32.ChecksumIEEE(f[8:14]):
		return errors.New("unxz: the stream footer's checksum is wrong")
	case (int64(le.Uint32(f[8:]))+1)*4 != in.n+4 || !bytes.Equal(f[12:14], flags) || !bytes.Equal(f[14:], footerMagic):
		return errors.New("unxz: the stream footer is wrong")
	}
	return nil
}

// unexpected turns the end of the file within a stream into an error.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
