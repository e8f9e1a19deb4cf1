package image

import (
	"context"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/powernode/bootsmith/builder/fault"
)

// Layout is an OCI image layout (image-spec, "Image Layout") in a folder.
type Layout struct{ Dir string }

// Index returns the layout's index.json.
func (l Layout) Index() ([]byte, error) {
	f, err := l.open("index.json")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, fault.Inputf("reading the image layout: %w", err)
	}
	if len(data) > maxDocument {
		return nil, fault.Inputf("reading the image layout %q: index.json is larger than %d bytes", l.Dir, maxDocument)
	}
	return data, nil
}

// Manifest implements Blobs.
func (l Layout) Manifest(ctx context.Context, digest v1.Hash) (io.ReadCloser, error) {
	return l.Blob(ctx, digest, maxDocument)
}

// Blob implements Blobs.
func (l Layout) Blob(_ context.Context, digest v1.Hash, _ int64) (io.ReadCloser, error) {
	return l.open("blobs/" + digest.Algorithm + "/" + digest.Hex)
}

// open opens a file of the layout; symbolic links don't lead out of it.
func (l Layout) open(name string) (*os.File, error) {
	root, err := os.OpenRoot(l.Dir)
	if err != nil {
		return nil, fault.Inputf("reading the image layout: %w", err).WithFix("correct root.image.reference, or make the layout")
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a file", name)
	}
	if err != nil {
		return nil, fault.Inputf("reading the image layout %q: %w", l.Dir, err).WithFix("correct root.image.reference, or make the layout again")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, fault.Inputf("reading the image layout %q: %w", l.Dir, err)
	}
	return f, nil
}
