package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
)

// CheckLayers reads every layer of a verified manifest from the registry and
// compares size and SHA-256; up to jobs layers at a time (0 means 2). A layer
// that differs is a VerifyError with DigestMismatch.
func CheckLayers(ctx context.Context, a Access, ref string, layers []Layer, jobs int) error {
	return eachLayer(ctx, a, ref, layers, jobs, func(ctx context.Context, repo *remote.Repository, l Layer) error {
		return streamLayer(ctx, repo, l, io.Discard)
	})
}

// PullLayers writes the layers that have a title into dir, as files of that
// name. A file appears when its digest has been verified. Titles that lead out
// of dir, through links too, are refused.
func PullLayers(ctx context.Context, a Access, ref string, layers []Layer, dir string, jobs int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder %q: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("opening the folder %q: %w", dir, err)
	}
	defer root.Close()
	return eachLayer(ctx, a, ref, layers, jobs, func(ctx context.Context, repo *remote.Repository, l Layer) error {
		if l.Title == "" {
			return nil
		}
		return pullLayer(ctx, repo, root, l)
	})
}

func eachLayer(ctx context.Context, a Access, ref string, layers []Layer, jobs int, do func(context.Context, *remote.Repository, Layer) error) error {
	repo, err := a.repository(ref)
	if err != nil {
		return err
	}
	if jobs <= 0 {
		jobs = 2
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for _, l := range layers {
		g.Go(func() error { return do(ctx, repo, l) })
	}
	return g.Wait()
}

func pullLayer(ctx context.Context, repo *remote.Repository, root *os.Root, l Layer) error {
	name := filepath.FromSlash(l.Title)
	if !filepath.IsLocal(name) {
		return remoteError(fmt.Errorf("pulling %q: the name leaves the folder", l.Title))
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("pulling %q: %w", l.Title, err)
	}
	part := name + ".part"
	f, err := root.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("pulling %q: %w", l.Title, err)
	}
	err = streamLayer(ctx, repo, l, f)
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("pulling %q: %w", l.Title, cerr)
	}
	if err != nil {
		return errors.Join(err, root.Remove(part))
	}
	if err := root.Rename(part, name); err != nil {
		return fmt.Errorf("pulling %q: %w", l.Title, err)
	}
	return nil
}

// writeError marks errors of the local side of a copy.
type writeError struct{ w io.Writer }

type localError struct{ error }

func (w writeError) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		err = localError{err}
	}
	return n, err
}

// streamLayer copies a layer and verifies it.
func streamLayer(ctx context.Context, repo *remote.Repository, l Layer, w io.Writer) error {
	doing := fmt.Sprintf("reading the layer %q (%s)", l.Title, l.Digest)
	desc := ocispec.Descriptor{MediaType: l.MediaType, Digest: digest.Digest(l.Digest), Size: l.Size}
	if err := checkDigest(desc.Digest); err != nil || desc.Size < 0 {
		return fault.Inputf("%s: its descriptor is malformed", doing)
	}
	body, err := repo.Blobs().Fetch(ctx, desc)
	if err != nil {
		return readingRefused(doing, err)
	}
	defer body.Close()
	checked := content.NewVerifyReader(body, desc)
	_, err = io.Copy(writeError{w}, checked)
	var local localError
	if errors.As(err, &local) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if err == nil {
		err = checked.Verify()
	}
	if err != nil {
		return readingRefused(doing, err)
	}
	return nil
}
