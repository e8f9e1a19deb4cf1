package publish

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// diskManifest makes the manifest of a disk image, which carries a signature and
// the provenance of the image as layers: a consumer that pulls the files can
// check them with `cosign verify-blob` and `verify-blob-attestation`.
//
// Signatures differ each time, and with them the manifest. Hence a manifest
// under the same tag, of the same files and with bundles that still verify as
// this identity's, is used again.
func (a *attester) diskManifest(ctx context.Context, art *artifact, run Run) (packed, error) {
	main, err := art.mainFile()
	if err != nil {
		return packed{}, err
	}
	statement, err := newStatement(main.title, main.sha256, PredicateProvenance, art.provenance(run))
	if err != nil {
		return packed{}, err
	}
	subject, err := hex.DecodeString(main.sha256)
	if err != nil {
		return packed{}, err
	}
	old, err := a.publishedDisk(ctx, art, main, subject, statement)
	if err != nil || old != nil {
		return deref(old), err
	}
	var layers [2]ocispec.Descriptor
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		layers[0], err = a.embed(ctx, filePayload(subject), CosignBundleMediaType, main.title+cosignBundleSuffix)
		return err
	})
	g.Go(func() (err error) {
		layers[1], err = a.embed(ctx, statementPayload(statement, subject), AttestationBundleMediaType, main.title+attestationBundleSuffix)
		return err
	})
	if err := g.Wait(); err != nil {
		return packed{}, err
	}
	return packArtifact(art, layers[:]...)
}

func deref(p *packed) packed {
	if p == nil {
		return packed{}
	}
	return *p
}

func (a *artifact) mainFile() (file, error) {
	for i, f := range a.family.Files {
		if f.Path == a.family.Main {
			return a.files[i], nil
		}
	}
	return file{}, fmt.Errorf("publishing %s: the main file %q is not among its files", a, a.family.Main)
}

// embed signs and pushes the bundle as a blob.
func (a *attester) embed(ctx context.Context, p payload, mediaType, title string) (ocispec.Descriptor, error) {
	p.unlogged = true
	raw, err := a.signer.sign(ctx, p)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := a.bytes(ctx, mediaType, raw)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	a.report(Event{Kind: Signed, Name: title, Digest: desc.Digest.String()})
	return desc, nil
}

// publishedDisk returns the manifest that the registry has for an artifact, or
// nil when it has none that can be used again.
func (a *attester) publishedDisk(ctx context.Context, art *artifact, main file, subject, statement []byte) (*packed, error) {
	desc, err := a.repo.Resolve(ctx, art.tag())
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, remoteError(fmt.Errorf("looking for %s in %s: %w", art.tag(), a.repo.Reference, err))
	}
	if !readable(desc, maxManifest) || desc.MediaType != ocispec.MediaTypeImageManifest {
		return nil, nil
	}
	raw, err := content.FetchAll(ctx, a.repo, desc)
	if err != nil {
		return nil, remoteError(fmt.Errorf("fetching %s from %s: %w", art.tag(), a.repo.Reference, err))
	}
	m, bundles, ok := sameDisk(raw, art, main)
	if !ok {
		return nil, nil
	}
	ok, err = a.stillVerify(ctx, bundles, subject, statement)
	if err != nil || !ok {
		return nil, err
	}
	return &m, nil
}

// sameDisk tells whether a manifest is the artifact's but for the bundles. It
// returns the manifest and those layers.
func sameDisk(raw []byte, art *artifact, main file) (fresh packed, bundles []ocispec.Descriptor, ok bool) {
	var m ocispec.Manifest
	if json.Unmarshal(raw, &m) != nil || len(m.Layers) != len(art.files)+2 {
		return packed{}, nil, false
	}
	bundles = m.Layers[len(art.files):]
	fresh, err := packArtifact(art, bundles...)
	return fresh, bundles, err == nil && slices.Equal(fresh.raw, raw) &&
		bundles[0].MediaType == CosignBundleMediaType && bundles[0].Annotations[ocispec.AnnotationTitle] == main.title+cosignBundleSuffix &&
		bundles[1].MediaType == AttestationBundleMediaType && bundles[1].Annotations[ocispec.AnnotationTitle] == main.title+attestationBundleSuffix
}

// stillVerify checks the two bundles that an earlier run embedded.
func (a *attester) stillVerify(ctx context.Context, layers []ocispec.Descriptor, subject, statement []byte) (bool, error) {
	for i, layer := range layers {
		if !readable(layer, maxBundle) {
			return false, nil
		}
		raw, err := content.FetchAll(ctx, a.repo.Blobs(), layer)
		if errors.Is(err, errdef.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, remoteError(fmt.Errorf("fetching the bundle %s: %w", layer.Digest, err))
		}
		b := &bundle.Bundle{}
		if b.UnmarshalJSON(raw) != nil {
			return false, nil
		}
		v, err := a.ownFile.check(b, subject)
		if err != nil {
			return false, nil
		}
		isFile := v.payload == nil
		if isFile != (i == 0) || i == 1 && !sameStatement(v.payload, statement) {
			return false, nil
		}
	}
	return true, nil
}
