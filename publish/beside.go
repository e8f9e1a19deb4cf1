package publish

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"oras.land/oras-go/v2/content"
)

// checkBeside verifies the bundles that a manifest carries as layers beside the
// file that they speak about. The manifest's own signature covers their bytes,
// but whoever pulls the files checks them by these bundles alone.
func checkBeside(ctx context.Context, t target, p Policy, layers []Layer) error {
	byTitle := map[string]Layer{}
	for _, l := range layers {
		byTitle[l.Title] = l
	}
	for _, l := range layers {
		suffix := map[string]string{CosignBundleMediaType: cosignBundleSuffix, AttestationBundleMediaType: attestationBundleSuffix}[l.MediaType]
		if suffix == "" {
			continue
		}
		file, ok := byTitle[strings.TrimSuffix(l.Title, suffix)]
		if !ok || !strings.HasSuffix(l.Title, suffix) {
			return refuse(SignatureFailed, "verifying the bundle %q: there is no file of that name beside it", l.Title)
		}
		if err := checkBundleOf(ctx, t, p, l, file); err != nil {
			return err
		}
	}
	return nil
}

// checkBundleOf verifies a bundle over the digest that the manifest gives a file.
func checkBundleOf(ctx context.Context, t target, p Policy, l, file Layer) error {
	sum, err := hex.DecodeString(digest.Digest(file.Digest).Encoded())
	if err != nil {
		return refuse(DigestMismatch, "verifying the bundle %q: %w", l.Title, err)
	}
	desc := ocispec.Descriptor{MediaType: l.MediaType, Digest: digest.Digest(l.Digest), Size: l.Size}
	if !readable(desc, maxBundle) {
		return refuse(SignatureFailed, "verifying the bundle %q: its size is %d bytes", l.Title, l.Size)
	}
	raw, err := content.FetchAll(ctx, t, desc)
	if err != nil {
		return readingRefused(fmt.Sprintf("fetching the bundle %q", l.Title), err)
	}
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(raw); err != nil {
		return refuse(SignatureFailed, "reading the bundle %q: %w", l.Title, err)
	}
	p.AllowNoLog = true // see the package documentation, "Bundles beside disk images"
	c, _, err := p.compile()
	if err != nil {
		return err
	}
	if _, err := c.check(b, sum); err != nil {
		return refuse(SignatureFailed, "verifying the bundle %q: %w", l.Title, err)
	}
	return nil
}
