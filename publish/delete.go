package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Delete gives up a published artifact: the tags given (those that name another
// manifest by now are left) and, when nothing uses it any more, its manifest with
// all that is attached to it. Its blobs are the registry's to collect.
//
// A manifest is used by another tag that names it, and by an index. A build's
// index is given up when all its artifacts are, and goes with them: until then
// their manifests stay, without their tags. Deleted tells whether the manifest is
// gone now.
//
// What is gone already is no error, and nothing is deleted before what leads to
// it, so that an interrupted deletion can be repeated.
//
// The reference must have a digest.
func Delete(ctx context.Context, a Access, ref string, tags ...string) (deleted bool, err error) {
	repo, err := a.repository(ref)
	if err != nil {
		return false, err
	}
	if _, err := repo.Reference.Digest(); err != nil {
		return false, fault.Inputf("deleting %q: it has no digest", ref)
	}
	deleted, err = deleteArtifact(ctx, repo, repo.Reference.Reference, tags)
	if err != nil {
		return false, remoteError(fmt.Errorf("deleting %q: %w", ref, err))
	}
	return deleted, nil
}

func deleteArtifact(ctx context.Context, repo *remote.Repository, digest string, tags []string) (bool, error) {
	for _, tag := range tags {
		if err := untag(ctx, repo, digest, tag); err != nil {
			return false, fmt.Errorf("tag %s: %w", tag, err)
		}
	}
	all, err := takeInventory(ctx, repo)
	if err != nil {
		return false, err
	}
	for _, index := range all.givenUp(digest) {
		if err := all.deleteIndex(ctx, repo, index); err != nil {
			return false, fmt.Errorf("the index %s: %w", index.desc.Digest, err)
		}
	}
	if all.uses(digest) {
		return false, nil
	}
	return true, deleteManifest(ctx, repo, digest)
}

// deleteIndex deletes a build's index and before it the manifests that nothing
// else uses.
func (v *inventory) deleteIndex(ctx context.Context, repo *remote.Repository, index *taggedIndex) error {
	delete(v.indexes, index.desc.Digest.String())
	for _, m := range index.entries {
		if v.uses(m.Digest.String()) {
			continue
		}
		if err := deleteManifest(ctx, repo, m.Digest.String()); err != nil {
			return err
		}
	}
	if len(v.tags[index.desc.Digest.String()]) == 1 {
		if err := deleteManifest(ctx, repo, index.desc.Digest.String()); err != nil {
			return err
		}
	}
	// Some registries keep tags of manifests that are gone.
	return untag(ctx, repo, index.desc.Digest.String(), index.tag)
}

// deleteManifest deletes a manifest, and before it what is attached to it: the
// referrers, the list of them that clients keep under a tag where the registry
// has no referrers API, and signatures and attestations for cosign 2.
func deleteManifest(ctx context.Context, repo *remote.Repository, digest string) error {
	desc, err := repo.Resolve(ctx, digest)
	gone := errors.Is(err, errdef.ErrNotFound)
	if gone {
		desc, err = subjectOf(digest)
	}
	if err != nil {
		return err
	}
	referrers, err := listReferrers(ctx, repo, desc)
	if err != nil {
		return err
	}
	// The list goes after what it lists: whoever repeats this finds the rest.
	for _, r := range referrers {
		if !readable(r, maxManifest) {
			continue
		}
		if err := deleteReference(ctx, repo, r.Digest.String()); err != nil {
			return fmt.Errorf("referrer %s: %w", r.Digest, err)
		}
	}
	for _, tag := range []string{simpleTag(desc), attestationTag(desc), referrersTag(desc)} {
		if err := deleteTagged(ctx, repo, tag); err != nil {
			return fmt.Errorf("tag %s: %w", tag, err)
		}
	}
	if gone {
		return nil
	}
	return deleteReference(ctx, repo, digest)
}

// deleteTagged deletes the manifest that a tag names, and the tag.
func deleteTagged(ctx context.Context, repo *remote.Repository, tag string) error {
	desc, err := repo.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := deleteReference(ctx, repo, desc.Digest.String()); err != nil {
		return err
	}
	return untag(ctx, repo, desc.Digest.String(), tag)
}

// untag deletes a tag if it names the manifest, or what replaceTag left when it
// was interrupted.
func untag(ctx context.Context, repo *remote.Repository, digest, tag string) error {
	now, err := repo.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	stone, err := tombstone(tag)
	if err != nil {
		return err
	}
	if now.Digest == stone.desc.Digest {
		return deleteReference(ctx, repo, now.Digest.String())
	}
	if now.Digest.String() != digest {
		return nil
	}
	err = deleteReference(ctx, repo, tag)
	if errors.Is(err, errNoUntagging) {
		return replaceTag(ctx, repo, tag, stone)
	}
	return err
}

// tombstone is a manifest that no other tag names.
func tombstone(tag string) (packed, error) {
	return pack(ocispec.Manifest{
		ArtifactType: ArtifactType, Layers: []ocispec.Descriptor{ocispec.DescriptorEmptyJSON},
		Annotations: map[string]string{ocispec.AnnotationRefName: tag},
	})
}

// replaceTag deletes a tag from a registry that deletes manifests only, with all
// their tags (distribution 2.8): the tag moves to a manifest of its own, which is
// deleted then.
func replaceTag(ctx context.Context, repo *remote.Repository, tag string, stone packed) error {
	p := newPusher(repo, "", Options{})
	if _, err := p.bytes(ctx, ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data); err != nil {
		return err
	}
	if err := p.manifest(ctx, stone, tag, "the tag "+tag); err != nil {
		return err
	}
	return deleteReference(ctx, repo, stone.desc.Digest.String())
}

// errNoUntagging says that a registry deletes no tags.
var errNoUntagging = errors.New("the registry deletes no tags")

// deleteReference deletes a manifest by its digest, or a tag (distribution
// specification 1.1, "Content Management"). What is gone already is no error.
func deleteReference(ctx context.Context, repo *remote.Repository, reference string) error {
	u := uploads{repo: repo}
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull, auth.ActionDelete)
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, u.base()+"/manifests/"+reference, nil)
	if err != nil {
		return err
	}
	resp, err := repo.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent, http.StatusNotFound:
		return nil
	case http.StatusBadRequest, http.StatusMethodNotAllowed:
		if !strings.Contains(reference, ":") {
			return errNoUntagging
		}
	}
	return answerError(resp)
}
