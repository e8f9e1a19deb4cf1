package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
)

// inventory is what the tags of a repository name.
type inventory struct {
	tags    map[string][]string // by digest
	names   map[string]bool
	indexes map[string]*taggedIndex // by digest
}

// taggedIndex is an index that a tag names.
type taggedIndex struct {
	desc    ocispec.Descriptor
	tag     string
	entries []ocispec.Descriptor
	// revision is the commit of a build's own index, "" for anyone else's.
	revision string
}

// attachedTag matches tags under which clients keep what is attached to a
// manifest: lists of referrers (distribution specification 1.1, "Referrers Tag
// Schema") and what cosign 2 writes.
var attachedTag = regexp.MustCompile(`\Asha256-[0-9a-f]{64}(\.[a-z]+)?\z`)

// takeInventory reads all tags of a repository and the indexes among what they
// name.
func takeInventory(ctx context.Context, repo *remote.Repository) (*inventory, error) {
	v := &inventory{tags: map[string][]string{}, names: map[string]bool{}, indexes: map[string]*taggedIndex{}}
	var names []string
	err := repo.Tags(ctx, "", func(tags []string) error {
		names = append(names, tags...)
		return nil
	})
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("listing the tags: %w", err)
	}
	for _, tag := range names {
		if attachedTag.MatchString(tag) {
			continue
		}
		if err := v.add(ctx, repo, tag); err != nil {
			return nil, fmt.Errorf("reading the tag %s: %w", tag, err)
		}
	}
	return v, nil
}

// isNotFound tells whether a repository is not there.
func isNotFound(err error) bool {
	return errors.Is(err, errdef.ErrNotFound) || statusOf(err) == http.StatusNotFound
}

func (v *inventory) add(ctx context.Context, repo *remote.Repository, tag string) error {
	desc, err := repo.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil // it went in the meantime
	}
	if err != nil {
		return err
	}
	name := desc.Digest.String()
	v.tags[name], v.names[tag] = append(v.tags[name], tag), true
	if desc.MediaType != ocispec.MediaTypeImageIndex && desc.MediaType != dockerIndex || v.indexes[name] != nil {
		return nil
	}
	desc, raw, err := fetchManifest(ctx, repo, name)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return err
	}
	t := &taggedIndex{desc: desc, tag: tag, entries: index.Manifests}
	if revision := index.Annotations[ocispec.AnnotationRevision]; revision == tag && index.Annotations[AnnotationPlatform] != "" {
		t.revision = revision
	}
	v.indexes[name] = t
	return nil
}

// dockerIndex is the media type of an index in Docker's older form.
const dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"

// uses tells whether a tag or an index names a manifest.
func (v *inventory) uses(digest string) bool {
	if len(v.tags[digest]) > 0 {
		return true
	}
	for _, index := range v.indexes {
		if index.lists(digest) {
			return true
		}
	}
	return false
}

func (t *taggedIndex) lists(digest string) bool {
	for _, m := range t.entries {
		if m.Digest.String() == digest {
			return true
		}
	}
	return false
}

// givenUp returns the builds' indexes that list a manifest and of whose
// artifacts none has its tag any more.
func (v *inventory) givenUp(digest string) []*taggedIndex {
	var all []*taggedIndex
	for _, index := range v.indexes {
		if index.revision != "" && index.lists(digest) && !v.keepsTag(index) {
			all = append(all, index)
		}
	}
	return all
}

func (v *inventory) keepsTag(index *taggedIndex) bool {
	for _, m := range index.entries {
		if v.names[artifactTag(index.revision, entryArch(m), m.Annotations[AnnotationFamily])] {
			return true
		}
	}
	return false
}

// subjectOf returns the descriptor of a manifest that is gone, as far as what is
// attached to it is found by it.
func subjectOf(d string) (ocispec.Descriptor, error) {
	parsed := digest.Digest(d)
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: parsed}, checkDigest(parsed)
}

// referrersTag is where lists of referrers are kept (distribution specification
// 1.1, "Referrers Tag Schema").
func referrersTag(subject ocispec.Descriptor) string {
	return subject.Digest.Algorithm().String() + "-" + subject.Digest.Encoded()
}
