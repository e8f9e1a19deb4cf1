package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
)

// target is where manifests and their referrers are read from: a repository of
// a registry or an OCI layout.
type target interface {
	content.ReadOnlyGraphStorage
	content.Resolver
}

// attached is a bundle that claims to speak about a manifest. Nothing in it has
// been verified.
type attached struct {
	referrer ocispec.Descriptor
	bundle   *bundle.Bundle
}

// errTooMany says that a manifest has more referrers than we read.
var errTooMany = errors.New("too many referrers")

// bundlesOf fetches the Sigstore bundles among a manifest's referrers. Whether a
// referrer is a bundle is decided by its own manifest: lists of referrers are
// written by clients where the registry has no referrers API. What is no bundle
// or cannot be read as one is left out.
func bundlesOf(ctx context.Context, t target, subject ocispec.Descriptor) ([]attached, error) {
	referrers, err := listReferrers(ctx, t, subject)
	if err != nil {
		return nil, err
	}
	var found []attached
	left := int64(maxBundles)
	for _, r := range referrers {
		layer, ok, err := bundleLayer(ctx, t, r, subject)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if left -= layer.Size; left < 0 {
			return nil, fmt.Errorf("%w: the bundles of %s are larger than %d bytes", errTooMany, subject.Digest, maxBundles)
		}
		raw, err := content.FetchAll(ctx, t, layer)
		if err != nil {
			return nil, fmt.Errorf("fetching the bundle %s: %w", layer.Digest, err)
		}
		b := &bundle.Bundle{}
		if err := b.UnmarshalJSON(raw); err != nil {
			continue
		}
		found = append(found, attached{referrer: r, bundle: b})
	}
	return found, nil
}

func listReferrers(ctx context.Context, t target, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	lister, ok := t.(registry.ReferrerLister)
	if !ok {
		list, err := t.Predecessors(ctx, subject)
		if err == nil && len(list) > maxReferrers {
			err = fmt.Errorf("%w: %s has more than %d", errTooMany, subject.Digest, maxReferrers)
		}
		return list, err
	}
	var list []ocispec.Descriptor
	err := lister.Referrers(ctx, subject, "", func(page []ocispec.Descriptor) error {
		list = append(list, page...)
		if len(list) > maxReferrers {
			return fmt.Errorf("%w: %s has more than %d", errTooMany, subject.Digest, maxReferrers)
		}
		return nil
	})
	return list, err
}

// bundleLayer returns the layer that holds a referrer's bundle; ok is false when
// the referrer is something else.
func bundleLayer(ctx context.Context, t target, referrer, subject ocispec.Descriptor) (layer ocispec.Descriptor, ok bool, err error) {
	// A digest is checked before it is used: go-digest panics on malformed ones.
	if referrer.MediaType != ocispec.MediaTypeImageManifest || !readable(referrer, maxManifest) {
		return layer, false, nil
	}
	raw, err := content.FetchAll(ctx, t, referrer)
	if errors.Is(err, errdef.ErrNotFound) {
		return layer, false, nil // a list of referrers may outlive them
	}
	if err != nil {
		return layer, false, fmt.Errorf("fetching the referrer %s: %w", referrer.Digest, err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return layer, false, nil
	}
	if m.Subject == nil || m.Subject.Digest != subject.Digest || len(m.Layers) != 1 || m.Layers[0].MediaType != BundleMediaType {
		return layer, false, nil
	}
	layer = m.Layers[0]
	if layer.Size > maxBundle {
		return layer, false, fmt.Errorf("%w: the bundle %s has more than %d bytes", errTooMany, layer.Digest, maxBundle)
	}
	return layer, readable(layer, maxBundle), nil
}

// readable tells whether a registry's descriptor can be fetched.
func readable(d ocispec.Descriptor, limit int64) bool {
	return checkDigest(d.Digest) == nil && d.Size >= 0 && d.Size <= limit
}
