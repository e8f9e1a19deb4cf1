package families

import (
	"context"
	"fmt"
	"io"
)

// write makes one file: it is filled and then gets its name.
func (s *Sink) write(name, mediaType string, fill func(*File) error) error {
	f, err := s.Create()
	if err != nil {
		return err
	}
	if err := fill(f); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	_, err = f.Commit(name, mediaType)
	return err
}

// copyBlob makes a copy of a blob and proves that it is one: the part may have
// changed on disk since it was made.
func (s *Sink) copyBlob(ctx context.Context, b Blob, name, mediaType string) error {
	return s.write(name, mediaType, func(f *File) error {
		r, err := b.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		f.Embed(b.Path, b.Size)
		if err := copyContext(ctx, f, r); err != nil {
			return err
		}
		if f.Size() != b.Size || f.SHA256() != b.SHA256 {
			return fmt.Errorf("reading %q: it has %d bytes with SHA-256 %s, not %d with %s", b.Path, f.Size(), f.SHA256(), b.Size, b.SHA256)
		}
		return nil
	})
}

// copyContext copies until the end or until ctx is done.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := make([]byte, 1<<18)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// embedding returns a reader of a blob whose bytes all go to f, without any
// other between them: f learns where they begin.
func (f *File) embedding(b Blob, r io.Reader) io.Reader {
	return &embeddingReader{Reader: r, to: f, blob: b}
}

type embeddingReader struct {
	io.Reader
	to   *File
	blob Blob
	told bool
}

func (e *embeddingReader) Read(p []byte) (int, error) {
	if !e.told {
		e.told = true
		e.to.Embed(e.blob.Path, e.blob.Size)
	}
	return e.Reader.Read(p)
}
