package inspect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
)

// Bounds of what is read of archives.
const (
	maxEntries   = 100_000
	maxListed    = 200
	maxUnpacked  = 8 << 30 // bytes of a compressed archive
	maxWindow    = 128 << 20
	zstdMagic    = "\x28\xb5\x2f\xfd"
	cpioMagic    = "070701"
	entriesLimit = "more than %d entries"
)

func isInitramfs(s source) bool { return s.has(0, zstdMagic) }

// describeInitramfs lists the archives in a zstd stream.
func describeInitramfs(ctx context.Context, s source, r *Report, _ int) error {
	r.Kind = "zstd stream"
	d, err := zstd.NewReader(ctxReader{ctx, s.section()}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer d.Close()
	unpacked := bufio.NewReader(io.LimitReader(d, maxUnpacked))
	if magic, _ := unpacked.Peek(len(cpioMagic)); string(magic) != cpioMagic {
		return nil
	}
	r.Kind = "initramfs (cpio in zstd)"
	return list(unpacked, r)
}

// list lists the entries of archives that follow each other, with zeros between
// them (kernel, early-userspace/buffer-format.rst).
func list(in *bufio.Reader, r *Report) error {
	total, size := 0, int64(0)
	for {
		if err := skipZeros(in); err != nil {
			if err == io.EOF {
				r.set("entries", total)
				r.set("unpacked size", size)
				return nil
			}
			return err
		}
		archive := cpio.NewReader(in)
		for {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("reading a cpio archive: %w", err)
			}
			if total++; total > maxEntries {
				return fmt.Errorf(entriesLimit, maxEntries)
			}
			size += h.Size
			if h.Mode&cpio.ModeType == cpio.TypeReg && len(r.Parts) < maxListed {
				r.Parts = append(r.Parts, Report{Name: h.Name, Kind: "file", Size: h.Size})
			}
		}
	}
}

// skipZeros drops zeros; io.EOF means that nothing follows them.
func skipZeros(in *bufio.Reader) error {
	for {
		c, err := in.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			return in.UnreadByte()
		}
	}
}

func isCPIO(s source) bool { return s.has(0, cpioMagic) }

// describeCPIO describes what is in an archive, a root image for example.
func describeCPIO(ctx context.Context, s source, r *Report, depth int) error {
	r.Kind = "cpio archive"
	section := s.section()
	for n := 0; ; n++ {
		at, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		h, err := cpio.NewReader(section).Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a cpio archive: byte %d: %w", at, err)
		}
		if n >= maxListed {
			r.set("entries", fmt.Sprintf(entriesLimit, maxListed))
			return nil
		}
		start, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if h.Size < 0 || h.Size > s.size-start {
			return fmt.Errorf("reading a cpio archive: %q has %d bytes, more than are left", h.Name, h.Size)
		}
		if h.Mode&cpio.ModeType == cpio.TypeReg {
			if err := r.add(ctx, newSource(s, start, h.Size), h.Name, depth); err != nil {
				return err
			}
		}
		if _, err := section.Seek(start+(h.Size+3)/4*4, io.SeekStart); err != nil {
			return err
		}
	}
}

// ctxReader stops reading when its context is done.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
