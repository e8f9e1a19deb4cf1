package deb

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/control"
	"github.com/powernode/bootsmith/builder/source/unxz"
)

// The limits of a control archive.
const (
	maxControlFiles = 1000
	maxControlBytes = 64 << 20
	// maxWindow bounds the memory that a zstd stream can ask for.
	maxWindow = 128 << 20
)

// decompress returns the tar stream in a member, by the member's name.
func decompress(member string, r io.Reader, workers int) (io.ReadCloser, error) {
	_, ext, _ := strings.Cut(member, ".tar")
	switch ext {
	case "":
		return io.NopCloser(r), nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return unxz.NewReader(r, workers), nil
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(workers), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("unknown compression %q", ext)
}

// readControl reads the control archive.
func (p *Package) readControl(ctx context.Context, member string, a *arReader, workers int) error {
	r, err := decompress(member, a, workers)
	if err != nil {
		return err
	}
	defer r.Close()
	in := tar.NewReader(io.LimitReader(r, 2*maxControlBytes))
	left := int64(maxControlBytes)
	for range maxControlFiles {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := in.Next()
		if err == io.EOF {
			if p.Control == nil {
				return errors.New("it holds no control file")
			}
			return nil
		}
		if err != nil {
			return err
		}
		if left -= h.Size; left < 0 {
			return fmt.Errorf("it holds more than %d bytes", maxControlBytes)
		}
		if err := p.readControlFile(in, h); err != nil {
			return fmt.Errorf("reading %q: %w", h.Name, err)
		}
	}
	return fmt.Errorf("it holds more than %d files", maxControlFiles)
}

func (p *Package) readControlFile(in io.Reader, h *tar.Header) error {
	name, err := source.CleanPath(h.Name)
	if err != nil || name == "" && h.Typeflag == tar.TypeDir {
		return err
	}
	if h.Typeflag != tar.TypeReg || !control.ValidName(name) {
		return errors.New("only regular files without a folder belong here")
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if name != "control" {
		p.Files = append(p.Files, File{Name: name, Mode: uint32(h.Mode) & 0o777, Data: string(data)})
		return nil
	}
	stanzas, err := control.ReadStanzas(strings.NewReader(string(data)))
	if err != nil {
		return err
	}
	if len(stanzas) != 1 || p.Control != nil {
		return errors.New("not exactly one stanza")
	}
	p.Control = stanzas[0]
	for _, field := range []string{"Package", "Architecture"} {
		if !control.ValidName(p.Field(field)) {
			return fmt.Errorf("field %s: %q is not a name", field, p.Field(field))
		}
	}
	return control.CheckVersion(p.Field("Version"))
}
