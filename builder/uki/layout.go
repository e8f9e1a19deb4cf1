package uki

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/powernode/bootsmith/builder/fault"
)

// place gives each part its offset in the file and its address in memory, both
// behind everything that the stub has. It returns the address behind the last.
func place(h headers, stubSize int64, parts []part) (int64, error) {
	offset := roundUp(stubSize, h.fileAlign)
	var address int64
	for _, s := range h.sections {
		address = max(address, s.Address+max(s.virtualSize, s.rawSize))
	}
	for i := range parts {
		p := &parts[i]
		if p.blob.Size > math.MaxUint32 {
			return 0, fault.Inputf("section %q: %d bytes don't fit into an EFI program, whose limit is 4 GiB", p.name, p.blob.Size)
		}
		p.offset, p.address = offset, roundUp(address, h.sectionAlign)
		offset += roundUp(p.blob.Size, h.fileAlign)
		address = p.address + p.blob.Size
	}
	end := roundUp(address, h.sectionAlign)
	if max(end, offset) > math.MaxUint32 {
		return 0, fault.Inputf("%d bytes don't fit into an EFI program, whose limit is 4 GiB", max(end, offset))
	}
	return end, nil
}

// patch writes the parts into the stub's headers.
func patch(stub []byte, h headers, parts []part, end int64) error {
	at := h.table + len(h.sections)*sectionHeaderSize
	need := len(parts) * sectionHeaderSize
	if limit := headerRoom(h); int64(at+need) > limit {
		return fault.Inputf("reading the boot stub: its headers have room for %d more sections, and %d are needed",
			max(0, limit-int64(at))/sectionHeaderSize, len(parts))
	}
	if len(h.sections)+len(parts) > maxSections {
		return fault.Inputf("reading the boot stub: it has too many sections")
	}
	le := binary.LittleEndian
	p := stub[h.pe:]
	initialized := le.Uint32(p[offInitialized:])
	for i, part := range parts {
		b := stub[at+i*sectionHeaderSize:][:sectionHeaderSize]
		clear(b)
		copy(b[:8], part.name)
		le.PutUint32(b[8:], uint32(part.blob.Size))
		le.PutUint32(b[12:], uint32(part.address))
		le.PutUint32(b[16:], uint32(roundUp(part.blob.Size, h.fileAlign)))
		le.PutUint32(b[20:], uint32(part.offset))
		le.PutUint32(b[36:], part.flags)
		initialized += uint32(part.blob.Size)
	}
	le.PutUint16(p[offSections:], uint16(len(h.sections)+len(parts)))
	le.PutUint32(p[offInitialized:], initialized)
	le.PutUint32(p[offSizeOfImage:], uint32(end))
	// EFI takes no checksum. A table of symbols, which old stubs have, would
	// have to be the file's end.
	le.PutUint32(p[offChecksum:], 0)
	le.PutUint32(p[offSymbolTable:], 0)
	le.PutUint32(p[offSymbolCount:], 0)
	return nil
}

// headerRoom returns where the headers must end: at SizeOfHeaders, and before
// the first section's bytes.
func headerRoom(h headers) int64 {
	limit := h.size
	for _, s := range h.sections {
		if s.rawSize > 0 {
			limit = min(limit, s.Offset)
		}
	}
	return limit
}

// copyOut writes the patched stub and the parts, each padded to the file
// alignment.
func copyOut(ctx context.Context, w io.Writer, h headers, stub []byte, parts []part) error {
	if _, err := w.Write(padded(stub, h.fileAlign)); err != nil {
		return err
	}
	for _, p := range parts {
		if err := copyPart(ctx, w, p); err != nil {
			return fmt.Errorf("section %q: %w", p.name, err)
		}
		if _, err := w.Write(make([]byte, roundUp(p.blob.Size, h.fileAlign)-p.blob.Size)); err != nil {
			return err
		}
	}
	return nil
}

// copyPart copies exactly as many bytes as announced, and reads on to the end
// of the stream: a verifying reader reports there what it found.
func copyPart(ctx context.Context, w io.Writer, p part) error {
	in := &contextReader{ctx: ctx, r: p.blob.R}
	if _, err := io.CopyN(w, in, p.blob.Size); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("it has fewer than %d bytes: %w", p.blob.Size, io.ErrUnexpectedEOF)
		}
		return err
	}
	switch n, err := io.ReadFull(in, make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("it has more than %d bytes", p.blob.Size)
	case err != io.EOF:
		return err
	}
	return nil
}

// padded returns b with zeros up to a multiple of align.
func padded(b []byte, align int64) []byte {
	return append(b, make([]byte, roundUp(int64(len(b)), align)-int64(len(b)))...)
}

// roundUp returns the next multiple of align, a power of two.
func roundUp(n, align int64) int64 { return (n + align - 1) &^ (align - 1) }

// contextReader stops reading when its context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
