package initramfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/cavaliergopher/cpio"

	"github.com/powernode/bootsmith/builder/fault"
)

// RootName is the file in the archive that WriteRootCPIO writes.
const RootName = "root.img"

// rootBlock is what the archive of the root image is padded to, in bytes, as
// cpio(1) does.
const rootBlock = 512

// WriteRootCPIO writes root.cpio: an archive, not compressed, that holds nothing
// but the root image, for a boot loader to load after the initramfs. size is
// the image's in bytes; one that doesn't fit into the format, 4 GiB or more, is
// an error of class fault.Input.
//
// Linux wants an uncompressed archive to begin at a multiple of 4 bytes, which it
// does behind an initramfs that Write made.
func WriteRootCPIO(ctx context.Context, w io.Writer, rootImage io.Reader, size int64, epoch time.Time) error {
	file := File{Path: RootName, Mode: 0o444, Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(rootImage), nil
	}}
	if err := file.check(); err != nil {
		return fmt.Errorf("writing the root archive: %w", err)
	}
	counter := &countingWriter{w: w}
	if err := writeArchive(ctx, counter, []File{file}, epoch); err != nil {
		return fmt.Errorf("writing the root archive: %w", err)
	}
	pad := (rootBlock - counter.n%rootBlock) % rootBlock
	if _, err := w.Write(make([]byte, pad)); err != nil {
		return fmt.Errorf("writing the root archive: %w", err)
	}
	return nil
}

// checkSize refuses what eight hexadecimal digits can't say; the cpio library
// would write a broken header.
func checkSize(size int64) error {
	if size < 0 || size > math.MaxUint32 {
		return fault.Inputf("a file of %d bytes doesn't fit into a cpio archive, whose limit is 4 GiB", size)
	}
	return nil
}

// writeArchive writes a whole archive with its trailer.
func writeArchive(ctx context.Context, w io.Writer, files []File, epoch time.Time) error {
	if t := epoch.Unix(); t < 0 || t > math.MaxUint32 {
		return fault.Inputf("time stamp %d doesn't fit into a cpio archive", t)
	}
	out := cpio.NewWriter(w)
	for i, f := range files {
		if err := writeFile(ctx, out, f, int64(i+1), epoch); err != nil {
			return fmt.Errorf("adding %q: %w", f.Path, err)
		}
	}
	return out.Close()
}

func writeFile(ctx context.Context, out *cpio.Writer, f File, inode int64, epoch time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Checksum stays 0: anything else changes the magic of every later archive
	// of the process.
	h := &cpio.Header{Name: f.Path, Inode: inode, Links: 1, Mode: cpio.FileMode(f.Mode), ModTime: epoch}
	switch {
	case f.dir:
		h.Mode |= cpio.TypeDir
		h.Links = 2
		return out.WriteHeader(h)
	case f.Target != "":
		h.Mode = cpio.TypeSymlink | 0o777
		h.Size = int64(len(f.Target)) // the library doesn't set it
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(out, f.Target)
		return err
	}
	h.Mode |= cpio.TypeReg
	h.Size = f.Size
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	return copyContents(ctx, out, f)
}

// copyContents copies exactly f.Size bytes, and reads on to the end of the
// contents: a verifying reader reports there what it found.
func copyContents(ctx context.Context, out io.Writer, f File) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	in := &contextReader{ctx: ctx, r: r}
	if _, err := io.CopyN(out, in, f.Size); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("it has fewer than %d bytes: %w", f.Size, io.ErrUnexpectedEOF)
		}
		return err
	}
	switch n, err := io.ReadFull(in, make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("it has more than %d bytes", f.Size)
	case err != io.EOF:
		return err
	}
	return nil
}

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

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
