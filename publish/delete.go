package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Delete removes a manifest from a registry: its referrers first, then the tags
// given (those that name another manifest by now are left), then the manifest.
// Its blobs are the registry's to collect. What is gone already is no error, so
// that an interrupted deletion can be repeated.
//
// The reference must have a digest.
func Delete(ctx context.Context, a Access, ref string, tags ...string) error {
	repo, err := a.repository(ref)
	if err != nil {
		return err
	}
	if _, err := repo.Reference.Digest(); err != nil {
		return fault.Inputf("deleting %q: it has no digest", ref)
	}
	if err := deleteManifest(ctx, repo, repo.Reference.Reference, tags); err != nil {
		return remoteError(fmt.Errorf("deleting %q: %w", ref, err))
	}
	return nil
}

// DeleteIndexIfEmpty removes the index that a tag names when none of the
// manifests that it lists exists any more. It tells whether the index is gone.
func DeleteIndexIfEmpty(ctx context.Context, a Access, ref string) (bool, error) {
	repo, err := a.repository(ref)
	if err != nil {
		return false, err
	}
	gone, err := deleteEmptyIndex(ctx, repo, repo.Reference.Reference)
	if err != nil {
		return false, remoteError(fmt.Errorf("deleting the index %q: %w", ref, err))
	}
	return gone, nil
}

func deleteEmptyIndex(ctx context.Context, repo *remote.Repository, tag string) (bool, error) {
	desc, raw, err := fetchManifest(ctx, repo, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return false, err
	}
	if desc.MediaType != ocispec.MediaTypeImageIndex {
		return false, fmt.Errorf("it is no index but %q", desc.MediaType)
	}
	for _, m := range index.Manifests {
		if !readable(m, maxManifest) {
			continue
		}
		switch exists, err := repo.Manifests().Exists(ctx, m); {
		case err != nil:
			return false, err
		case exists:
			return false, nil
		}
	}
	return true, deleteManifest(ctx, repo, desc.Digest.String(), []string{tag})
}

func deleteManifest(ctx context.Context, repo *remote.Repository, digest string, tags []string) error {
	desc, err := repo.Resolve(ctx, digest)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	referrers, err := listReferrers(ctx, repo, desc)
	if err != nil {
		return err
	}
	for _, r := range referrers {
		if !readable(r, maxManifest) {
			continue
		}
		if err := remove(repo.Delete(ctx, r)); err != nil {
			return fmt.Errorf("referrer %s: %w", r.Digest, err)
		}
	}
	if err := deleteSimple(ctx, repo, desc); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := untag(ctx, repo, desc, tag); err != nil {
			return fmt.Errorf("tag %s: %w", tag, err)
		}
	}
	return remove(repo.Delete(ctx, desc))
}

// deleteSimple deletes the signatures for cosign 2.
func deleteSimple(ctx context.Context, repo *remote.Repository, manifest ocispec.Descriptor) error {
	tag := simpleTag(manifest)
	desc, err := repo.Resolve(ctx, tag)
	if err == nil {
		err = errors.Join(untag(ctx, repo, desc, tag), remove(repo.Delete(ctx, desc)))
	}
	if err := remove(err); err != nil {
		return fmt.Errorf("signatures under the tag %s: %w", tag, err)
	}
	return nil
}

// remove forgives what is gone, and a list of referrers that is.
func remove(err error) error {
	var listing *remote.ReferrersError
	if errors.Is(err, errdef.ErrNotFound) || errors.As(err, &listing) && listing.IsReferrersIndexDelete() {
		return nil
	}
	return err
}

// untag deletes a tag (distribution specification 1.1, "Deleting tags"), for
// registries that keep it when its manifest goes. Others refuse this with 400 or
// 405, and need it not.
func untag(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor, tag string) error {
	now, err := repo.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	if err != nil || now.Digest != desc.Digest {
		return err
	}
	scheme := "https"
	if repo.PlainHTTP {
		scheme = "http"
	}
	url := scheme + "://" + repo.Reference.Host() + "/v2/" + repo.Reference.Repository + "/manifests/" + tag
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull, auth.ActionDelete)
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, url, nil)
	if err != nil {
		return err
	}
	resp, err := repo.Client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed:
		return nil
	}
	return fmt.Errorf("the registry answered %s", resp.Status)
}
