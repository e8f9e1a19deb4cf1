package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
)

// PullImage writes the image that a verified manifest is into dir, as an OCI
// layout with that one image. A blob appears when its digest has been verified.
func PullImage(ctx context.Context, a Access, ref string, r *Result, dir string, jobs int) error {
	repo, err := a.repository(ref)
	if err != nil {
		return err
	}
	desc, raw, err := fetchManifest(ctx, repo, r.Digest)
	if err != nil {
		return readingRefused("fetching "+ref, err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return refuse(DigestMismatch, "reading the manifest %s: %w", ref, err)
	}
	if desc.MediaType != ocispec.MediaTypeImageManifest || m.Config.MediaType != ocispec.MediaTypeImageConfig {
		return fault.Inputf("pulling %q as an image: it is none", ref)
	}
	var blobs []Layer
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := checkDigest(d.Digest); err != nil {
			return refuse(DigestMismatch, "reading the manifest %s: %w", ref, err)
		}
		blobs = append(blobs, Layer{Title: path.Join(ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded()), Digest: d.Digest.String(), MediaType: d.MediaType, Size: d.Size})
	}
	if err := PullLayers(ctx, a, ref, blobs, dir, jobs); err != nil {
		return err
	}
	return writeLayout(dir, desc, raw)
}

// writeLayout writes what makes a folder of blobs an OCI layout.
func writeLayout(dir string, desc ocispec.Descriptor, manifest []byte) error {
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}},
	})
	if err != nil {
		return fmt.Errorf("writing an OCI layout: %w", err)
	}
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return fmt.Errorf("writing an OCI layout: %w", err)
	}
	return errors.Join(
		os.WriteFile(blobPath(dir, desc.Digest), manifest, 0o644),
		os.WriteFile(filepath.Join(dir, ocispec.ImageIndexFile), index, 0o644),
		os.WriteFile(filepath.Join(dir, ocispec.ImageLayoutFile), layout, 0o644),
	)
}
