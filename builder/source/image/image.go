// Package image reads a root from a container image (OCI image specification
// 1.1, Docker image manifest version 2, schema 2): a manifest by digest, or the
// one of an index that is for the wanted architecture, and its layers.
//
// Every blob is compared with its digest and size, every layer besides with the
// digest of its uncompressed form. What goes into the tree are the layers'
// entries as they are; whiteouts delete what lower layers brought.
package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

const (
	// maxDocument bounds a manifest, index or configuration, in bytes; it is
	// what registries take of a manifest.
	maxDocument = 4 << 20
	// maxLayers bounds the layers of an image.
	maxLayers = 1024
	// maxDepth bounds how far indexes lead to indexes.
	maxDepth = 3
)

// Blobs is where an image is: a registry's repository or a layout.
type Blobs interface {
	// Manifest opens a manifest or index.
	Manifest(ctx context.Context, digest v1.Hash) (io.ReadCloser, error)
	// Blob opens a configuration or layer, which has size bytes: no more are
	// fetched.
	Blob(ctx context.Context, digest v1.Hash, size int64) (io.ReadCloser, error)
}

// Source is an image.
type Source struct {
	Blobs Blobs
	// Digest names a manifest or an index. The zero value stands for what
	// Index, a layout's, leads to.
	Digest v1.Hash
	Index  []byte
	Arch   arch.Arch
	Limits source.Limits
}

// Pin returns the digest of the image's manifest for the architecture.
func (i Source) Pin(ctx context.Context, _ *store.Store, _ int64) (string, error) {
	m, err := i.find(ctx)
	return m.digest.String(), err
}

// Created returns the time that the image's configuration tells.
func (i Source) Created(ctx context.Context) (time.Time, error) {
	m, err := i.find(ctx)
	if err != nil {
		return time.Time{}, err
	}
	config, err := i.config(ctx, m)
	if err != nil {
		return time.Time{}, err
	}
	return config.Created.Time, nil
}

// Read reads the layers of the manifest that Pin returned.
func (i Source) Read(ctx context.Context, s *store.Store, epoch int64, pin string) (*tree.Tree, error) {
	digest, err := v1.NewHash(pin)
	if err != nil {
		return nil, fmt.Errorf("reading the image %q: %w", pin, err)
	}
	m, err := i.manifest(ctx, digest)
	if err != nil {
		return nil, err
	}
	config, err := i.config(ctx, m)
	if err != nil {
		return nil, err
	}
	b := builder{Source: i, store: s, tree: tree.New(epoch), left: i.Limits}
	for n, layer := range m.Layers {
		if err := b.addLayer(ctx, layer, config.RootFS.DiffIDs[n]); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, source.Explain(fault.Input, fmt.Errorf("reading layer %d of the image %s: %w", n+1, pin, err), "make the image again, or correct root.image.reference")
		}
	}
	return b.tree, nil
}

// imageManifest is a manifest and its digest.
type imageManifest struct {
	v1.Manifest
	digest v1.Hash
}

// find returns the manifest for the architecture.
func (i Source) find(ctx context.Context) (imageManifest, error) {
	if i.Digest != (v1.Hash{}) {
		return i.follow(ctx, i.Digest, maxDepth)
	}
	return i.choose(ctx, i.Index, "of the layout", maxDepth)
}

// follow goes from a manifest or index to the manifest for the architecture.
func (i Source) follow(ctx context.Context, digest v1.Hash, depth int) (imageManifest, error) {
	data, err := i.document(ctx, i.Blobs.Manifest, digest, maxDocument)
	if err != nil {
		return imageManifest{}, err
	}
	index, err := isIndex(data)
	if err != nil {
		return imageManifest{}, fault.Inputf("reading the manifest %s: %w", digest, err)
	}
	if index {
		return i.choose(ctx, data, digest.String(), depth)
	}
	return parseManifest(data, digest)
}

// choose picks the one manifest of an index that is for the architecture.
func (i Source) choose(ctx context.Context, data []byte, name string, depth int) (imageManifest, error) {
	if depth == 0 {
		return imageManifest{}, fault.Inputf("reading the index %s: indexes lead to indexes, too often", name)
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return imageManifest{}, fault.Inputf("reading the index %s: %w", name, err)
	}
	var fits, unknown []v1.Hash // each once
	var others []string
	for _, m := range index.Manifests {
		switch {
		case !m.MediaType.IsIndex() && !m.MediaType.IsImage():
		case m.Platform == nil && len(index.Manifests) > 1 && m.MediaType.IsImage():
			unknown = appendNew(unknown, m.Digest)
		case m.Platform == nil || m.Platform.OS == "linux" && m.Platform.Architecture == i.Arch.Name:
			fits = appendNew(fits, m.Digest)
		default:
			others = append(others, m.Platform.OS+"/"+m.Platform.Architecture)
		}
	}
	if len(fits) == 0 {
		fits = unknown // what an image is for, its configuration tells, too
	}
	switch len(fits) {
	case 0:
		return imageManifest{}, fault.Inputf("reading the index %s: no image for linux/%s; it has: %s", name, i.Arch.Name, cmp.Or(strings.Join(others, ", "), "none")).
			WithFix("build for another architecture, or name another image")
	case 1:
		return i.follow(ctx, fits[0], depth-1)
	}
	return imageManifest{}, fault.Inputf("reading the index %s: %d images may be for linux/%s: %v", name, len(fits), i.Arch.Name, fits).
		WithFix("name one by its digest")
}

func appendNew(list []v1.Hash, digest v1.Hash) []v1.Hash {
	if slices.Contains(list, digest) {
		return list
	}
	return append(list, digest)
}

// manifest reads a manifest by its digest.
func (i Source) manifest(ctx context.Context, digest v1.Hash) (imageManifest, error) {
	data, err := i.document(ctx, i.Blobs.Manifest, digest, maxDocument)
	if err != nil {
		return imageManifest{}, err
	}
	return parseManifest(data, digest)
}

func parseManifest(data []byte, digest v1.Hash) (imageManifest, error) {
	m, err := v1.ParseManifest(bytes.NewReader(data))
	if err != nil {
		return imageManifest{}, fault.Inputf("reading the manifest %s: %w", digest, err)
	}
	if m.Config.MediaType != types.OCIConfigJSON && m.Config.MediaType != types.DockerConfigJSON {
		return imageManifest{}, fault.Inputf("reading the manifest %s: it is no container image: its configuration is of type %q", digest, m.Config.MediaType)
	}
	if len(m.Layers) == 0 || len(m.Layers) > maxLayers {
		return imageManifest{}, fault.Inputf("reading the manifest %s: it has %d layers, not 1 to %d", digest, len(m.Layers), maxLayers)
	}
	for _, l := range m.Layers {
		if !l.MediaType.IsLayer() {
			return imageManifest{}, fault.Inputf("reading the manifest %s: %q is no type of a layer", digest, l.MediaType)
		}
	}
	return imageManifest{*m, digest}, nil
}

// config reads the configuration and checks it against the manifest and the
// architecture.
func (i Source) config(ctx context.Context, m imageManifest) (*v1.ConfigFile, error) {
	data, err := i.document(ctx, i.sized(m.Config.Size), m.Config.Digest, m.Config.Size)
	if err != nil {
		return nil, err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(data))
	if err != nil {
		return nil, fault.Inputf("reading the configuration of the image %s: %w", m.digest, err)
	}
	if config.Architecture != i.Arch.Name || config.OS != "linux" {
		return nil, fault.Inputf("reading the image %s: it is for %s/%s, not linux/%s", m.digest, config.OS, config.Architecture, i.Arch.Name).
			WithFix("build for another architecture, or name another image")
	}
	if len(config.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fault.Inputf("reading the image %s: its configuration lists %d layers, its manifest %d", m.digest, len(config.RootFS.DiffIDs), len(m.Layers))
	}
	return config, nil
}

type opener func(ctx context.Context, digest v1.Hash) (io.ReadCloser, error)

// sized opens blobs of size bytes.
func (i Source) sized(size int64) opener {
	return func(ctx context.Context, digest v1.Hash) (io.ReadCloser, error) {
		return i.Blobs.Blob(ctx, digest, size)
	}
}

// document reads a blob of at most limit bytes into memory and verifies it.
func (i Source) document(ctx context.Context, open opener, digest v1.Hash, limit int64) ([]byte, error) {
	if limit < 0 || limit > maxDocument {
		return nil, fault.Inputf("reading %s: %d bytes are too many", digest, limit)
	}
	r, err := openBlob(ctx, open, digest, limit)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fault.Default(fault.Input, fmt.Errorf("reading %s: %w", digest, err))
	}
	return data, nil
}

// isIndex tells indexes from manifests by what they hold: their media type may
// be missing in OCI documents.
func isIndex(data []byte) (bool, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return false, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(data))
	if err != nil {
		return false, err
	}
	list, image := len(index.Manifests) > 0 || index.MediaType.IsIndex(), len(m.Layers) > 0 || m.Config.Size > 0
	if list && image {
		return false, errors.New("it is both an index and a manifest")
	}
	return list, nil
}

// Fetch reads all blobs of the manifest that Pin returned, so that a cache in
// front of the blobs has them.
func (i Source) Fetch(ctx context.Context, pin string) error {
	m, err := i.find(ctx)
	if err != nil {
		return err
	}
	if m.digest.String() != pin {
		return fault.Inputf("fetching the image %s: it is %s now", pin, m.digest)
	}
	for _, blob := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		r, err := openBlob(ctx, i.sized(blob.Size), blob.Digest, blob.Size)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, source.WithContext(ctx, r))
		r.Close()
		if err != nil {
			return fmt.Errorf("fetching the image %s: %w", pin, err)
		}
	}
	return nil
}
