package publish

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// readImage reads the OCI layout in dir (image-spec, "Image Layout"), which
// holds one image, and returns the image's manifest and its blobs. The digest,
// when given, is the one that the build recorded.
func readImage(dir, want string) (packed, []file, error) {
	desc, err := layoutEntry(dir)
	if err != nil {
		return packed{}, nil, err
	}
	if want != "" && desc.Digest.String() != want {
		return packed{}, nil, fmt.Errorf("the layout %q holds %s, the build made %s", dir, desc.Digest, want)
	}
	raw, err := readBounded(blobPath(dir, desc.Digest), maxManifest)
	if err != nil {
		return packed{}, nil, err
	}
	if digest.FromBytes(raw) != desc.Digest || int64(len(raw)) != desc.Size {
		return packed{}, nil, fmt.Errorf("the image manifest in %q is not the one its index names", dir)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return packed{}, nil, fmt.Errorf("reading the image manifest in %q: %w", dir, err)
	}
	var blobs []file // checked by digest when sent
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := checkDigest(d.Digest); err != nil {
			return packed{}, nil, fmt.Errorf("reading the image manifest in %q: %w", dir, err)
		}
		blobs = append(blobs, file{path: blobPath(dir, d.Digest), mediaType: d.MediaType, sha256: d.Digest.Encoded(), size: d.Size})
	}
	return packed{desc: content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, raw), raw: raw}, blobs, nil
}

func layoutEntry(dir string) (ocispec.Descriptor, error) {
	path := filepath.Join(dir, ocispec.ImageIndexFile)
	raw, err := readBounded(path, maxManifest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := parseLayoutIndex(raw)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("reading %q: %w", path, err)
	}
	return desc, nil
}

func parseLayoutIndex(raw []byte) (ocispec.Descriptor, error) {
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return ocispec.Descriptor{}, err
	}
	if len(index.Manifests) != 1 {
		return ocispec.Descriptor{}, fmt.Errorf("it lists %d images, not one", len(index.Manifests))
	}
	desc := index.Manifests[0]
	if desc.MediaType != ocispec.MediaTypeImageManifest {
		return ocispec.Descriptor{}, fmt.Errorf("its image has the media type %q, not %q", desc.MediaType, ocispec.MediaTypeImageManifest)
	}
	return desc, checkDigest(desc.Digest)
}

// checkDigest admits SHA-256 digests in lower-case hex only; what it admits is
// safe in a path.
func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("the digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("the digest %q is not SHA-256", d)
	}
	return nil
}

// digestBytes returns the bytes of a digest that checkDigest admits.
func digestBytes(d digest.Digest) ([]byte, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	return hex.DecodeString(d.Encoded())
}

func blobPath(dir string, d digest.Digest) string {
	return filepath.Join(dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}
