package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// Span is a run of a file's bytes. From is the path of a blob whose bytes they
// are; "" or any other path stands for bytes of the file's own.
type Span struct {
	Size int64
	Hole bool // zeros
	From string
}

// KeepFile makes what is needed of a finished file, which stays where it is:
// what its spans name is not copied. Its digest and spans are taken as given.
func (c *Cache) KeepFile(ctx context.Context, path string, f File, spans []Span) (File, error) {
	f.Pieces = nil
	if len(spans) == 0 {
		spans = []Span{{Size: f.Size}}
	}
	var own int64
	for _, s := range spans {
		p := Piece{Size: s.Size}
		switch digest := c.digestOf(s.From); {
		case s.Hole:
		case digest != "":
			p.Blob = digest
		default:
			p.Offset = own
			p.Blob = ownBlob
			own += s.Size
		}
		f.Pieces = append(f.Pieces, p)
	}
	if len(f.Pieces) == 1 && f.Pieces[0].Blob == f.SHA256 {
		f.Pieces = nil
		return f, nil
	}
	if len(f.Pieces) == 1 && f.Pieces[0].Blob == ownBlob {
		f.Pieces = nil
		if err := c.keepCopy(path, f.SHA256); err != nil {
			return f, fmt.Errorf("caching %q: %w", f.Name, err)
		}
		return f, nil
	}
	if own == 0 {
		return f, nil
	}
	digest, err := c.keepOwn(ctx, path, f.Pieces)
	if err != nil {
		return f, fmt.Errorf("caching %q: %w", f.Name, err)
	}
	for i := range f.Pieces {
		if f.Pieces[i].Blob == ownBlob {
			f.Pieces[i].Blob = digest
		}
	}
	return f, nil
}

// ownBlob stands for the blob with a file's own bytes until its digest is known.
const ownBlob = "own"

// keepCopy makes a blob of a whole file, which shares its blocks where the file
// system can do that.
func (c *Cache) keepCopy(path, digest string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(c.scratch, "blob-")
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in) // by copy_file_range(2)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		_, err = c.Keep(out.Name(), digest)
	}
	if err != nil {
		return errors.Join(err, remove(out.Name()))
	}
	return nil
}

// keepOwn makes a blob of the file's own bytes.
func (c *Cache) keepOwn(ctx context.Context, path string, pieces []Piece) (digest string, err error) {
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.CreateTemp(c.scratch, "blob-")
	if err != nil {
		return "", err
	}
	sum, buf := sha256.New(), make([]byte, copyBuffer)
	var at int64
	for _, p := range pieces {
		if p.Blob == ownBlob && err == nil {
			err = copyRange(ctx, io.MultiWriter(out, sum), in, at, p.Size, buf)
		}
		at += p.Size
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		digest = hexOf(sum.Sum(nil))
		_, err = c.Keep(out.Name(), digest)
	}
	if err != nil {
		err = errors.Join(err, remove(out.Name()))
	}
	return digest, err
}

// copyRange copies size bytes from an offset.
func copyRange(ctx context.Context, w io.Writer, r io.ReaderAt, at, size int64, buf []byte) error {
	for size > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size)], at)
		if n == 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		at, size = at+int64(n), size-int64(n)
	}
	return nil
}
