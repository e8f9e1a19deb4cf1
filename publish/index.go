package publish

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// index makes, signs and tags the build's index. Architectures may be published
// at the same time by several machines, and a registry replaces a tag whatever it
// named before: hence the index is made again until it is there and lists all.
func (a *attester) index(ctx context.Context, repository string, arts []*artifact, manifests []packed) (Index, error) {
	tag := arts[0].build.manifest.GitSHA
	var ours []ocispec.Descriptor
	for i, art := range arts {
		ours = append(ours, indexEntry(art, manifests[i]))
	}
	all, err := a.entries(ctx, tag, ours)
	if err != nil {
		return Index{}, err
	}
	for try := 1; ; try++ {
		m, err := packIndex(arts[0], all)
		if err != nil {
			return Index{}, err
		}
		if err := a.tagIndex(ctx, repository, arts[0], m); err != nil {
			return Index{}, err
		}
		there := len(all)
		if all, err = a.entries(ctx, tag, ours); err != nil {
			return Index{}, err
		}
		now, err := a.repo.Resolve(ctx, tag)
		if err != nil {
			return Index{}, remoteError(fmt.Errorf("looking for %s in %s: %w", tag, a.repo.Reference, err))
		}
		if now.Digest == m.desc.Digest && len(all) == there || try == indexTries {
			return Index{Digest: m.desc.Digest.String(), Tag: tag}, nil
		}
	}
}

// indexTries is how often an index is made before the others that change it are
// left to have the last word: theirs lists ours, too.
const indexTries = 5

// tagIndex pushes and signs an index, and gives it its tag.
func (a *attester) tagIndex(ctx context.Context, repository string, first *artifact, m packed) error {
	name := first.build.manifest.Platform + " index"
	if err := a.manifest(ctx, m, "", name); err != nil {
		return err
	}
	statement, err := newStatement(repository, m.desc.Digest.Encoded(), PredicateSignature, struct{}{})
	if err != nil {
		return err
	}
	claims := []claim{{predicateType: PredicateSignature, statement: statement}}
	if _, err := a.attest(ctx, m.desc, stamp(first.build.manifest.Created), name, claims); err != nil {
		return err
	}
	return a.manifest(ctx, m, first.build.manifest.GitSHA, name)
}

// entries returns what a build's index is to list: ours, what the index lists
// already, and what others have published and signed as we do.
func (a *attester) entries(ctx context.Context, tag string, ours []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	listed, err := a.others(ctx, tag, ours)
	if err != nil {
		return nil, err
	}
	all := append(slices.Clone(ours), listed...)
	more, err := a.tagged(ctx, tag, all)
	return append(all, more...), err
}

// tagged returns the artifacts of a build that have their tags and our signature,
// but are not known yet.
func (a *attester) tagged(ctx context.Context, revision string, known []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	skip := map[string]bool{}
	for _, d := range known {
		skip[artifactTag(revision, entryArch(d), d.Annotations[AnnotationFamily])] = true
	}
	var names []string
	err := a.repo.Tags(ctx, "", func(tags []string) error {
		for _, t := range tags {
			if strings.HasPrefix(t, revision+"-") && !skip[t] {
				names = append(names, t)
			}
		}
		return nil
	})
	if err != nil {
		return nil, remoteError(fmt.Errorf("listing the tags of %s: %w", a.repo.Reference, err))
	}
	var more []ocispec.Descriptor
	for _, name := range names {
		arch, family, ok := strings.Cut(strings.TrimPrefix(name, revision+"-"), "-")
		if !ok {
			continue
		}
		d, ok, err := a.signedEntry(ctx, name)
		if err != nil {
			return nil, err
		}
		if ok {
			d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
			d.Annotations = map[string]string{AnnotationFamily: family}
			more = append(more, d)
		}
	}
	return more, nil
}

// signedEntry returns the manifest that a tag names, if it is signed as we sign.
func (a *attester) signedEntry(ctx context.Context, tag string) (ocispec.Descriptor, bool, error) {
	desc, raw, err := fetchManifest(ctx, a.repo, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return desc, false, nil
	}
	if err != nil {
		return desc, false, remoteError(fmt.Errorf("fetching %s from %s: %w", tag, a.repo.Reference, err))
	}
	var m ocispec.Manifest
	if desc.MediaType != ocispec.MediaTypeImageManifest || json.Unmarshal(raw, &m) != nil {
		return desc, false, nil
	}
	subject, err := digestBytes(desc.Digest)
	if err != nil {
		return desc, false, err
	}
	have, err := a.existing(ctx, desc, subject)
	return ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, ArtifactType: m.ArtifactType}, len(have) > 0, err
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
