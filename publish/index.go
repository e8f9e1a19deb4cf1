package publish

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// indexEntry is a published manifest as an entry of the build's index.
func indexEntry(a *artifact, m packed) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: m.desc.MediaType, Digest: m.desc.Digest, Size: m.desc.Size, ArtifactType: m.desc.ArtifactType,
		Platform:    &ocispec.Platform{OS: "linux", Architecture: a.build.manifest.Arch},
		Annotations: map[string]string{AnnotationFamily: a.family.Name},
	}
}

// packIndex makes the flat index of a build (some registries refuse an index
// within an index). For each architecture the image comes first: a container
// runtime takes the first entry for its platform.
func packIndex(first *artifact, entries []ocispec.Descriptor) (packed, error) {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(entryArch(a), entryArch(b)), cmp.Compare(imageRank(a), imageRank(b)),
			cmp.Compare(a.Annotations[AnnotationFamily], b.Annotations[AnnotationFamily]))
	})
	m := first.build.manifest
	raw, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: entries,
		Annotations: map[string]string{
			ocispec.AnnotationCreated: stamp(m.Created), ocispec.AnnotationRevision: m.GitSHA, AnnotationPlatform: m.Platform,
		},
	})
	if err != nil {
		return packed{}, err
	}
	return packed{desc: content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, raw), raw: raw}, nil
}

func entryArch(d ocispec.Descriptor) string {
	if d.Platform == nil {
		return ""
	}
	return d.Platform.Architecture
}

func imageRank(d ocispec.Descriptor) int {
	if d.Annotations[AnnotationFamily] == imageFamily {
		return 0
	}
	return 1
}

// others returns the entries of the build's index in the registry for artifacts
// that this run did not publish: a build may be published one architecture at a
// time.
func (p *pusher) others(ctx context.Context, tag string, ours []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	desc, err := p.repo.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, remoteError(fmt.Errorf("looking for %s in %s: %w", tag, p.repo.Reference, err))
	}
	if desc.MediaType != ocispec.MediaTypeImageIndex || !readable(desc, maxManifest) {
		return nil, nil
	}
	raw, err := content.FetchAll(ctx, p.repo, desc)
	if err != nil {
		return nil, remoteError(fmt.Errorf("fetching %s from %s: %w", tag, p.repo.Reference, err))
	}
	var index ocispec.Index
	if json.Unmarshal(raw, &index) != nil {
		return nil, nil
	}
	return slices.DeleteFunc(index.Manifests, func(d ocispec.Descriptor) bool {
		return d.Annotations[AnnotationFamily] == "" || !readable(d, maxManifest) || slices.ContainsFunc(ours, func(o ocispec.Descriptor) bool {
			return entryArch(o) == entryArch(d) && o.Annotations[AnnotationFamily] == d.Annotations[AnnotationFamily]
		})
	}), nil
}
