package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/fault"
)

// CacheArtifactType is the artifactType of a stage's result that builds share.
const CacheArtifactType = "application/vnd.powernode.bootsmith.cache.v1"

// cacheFileType is the media type of its layers, whatever is in them.
const cacheFileType = "application/octet-stream"

// cacheEntryFiles bounds the layers of an entry that is read.
const cacheEntryFiles = 10_000

// StageCache is a repository in which builds keep the results of stages for each
// other. An entry is a manifest of the artifact type CacheArtifactType whose tag
// is its key, with a layer for each file, and a signature among its referrers,
// like that of an artifact. An entry is believed when an identity that the policy
// admits has signed it, and when it says itself that it belongs to the key.
type StageCache struct {
	// Repository is "registry/path".
	Repository string
	Access     Access
	// Policy says whose entries are believed; it is needed for Pull.
	Policy Policy
	// Signer signs entries; it is needed for Push.
	Signer *Signer
}

// Name implements cache.Remote.
func (s StageCache) Name() string { return s.Repository }

// Pull implements cache.Remote. Every byte that it writes has been compared with
// the signed manifest.
func (s StageCache) Pull(ctx context.Context, key, dir string, wanted func(name string) bool) error {
	r, err := Verify(ctx, s.Access, s.Repository+":"+key, s.Policy)
	if err != nil {
		return cacheError(ctx, err)
	}
	if r.ArtifactType != CacheArtifactType || len(r.Layers) > cacheEntryFiles {
		return &cache.RejectedError{Err: fmt.Errorf("%s is signed, but is a %q and no result of a stage", r.Digest, r.ArtifactType)}
	}
	var layers []Layer
	for _, l := range r.Layers {
		if strings.ContainsAny(l.Title, `/\`) {
			return &cache.RejectedError{Err: fmt.Errorf("a file is called %q", l.Title)}
		}
		if wanted(l.Title) {
			layers = append(layers, l)
		}
	}
	return cacheError(ctx, PullLayers(ctx, s.Access, s.Repository+"@"+r.Digest, layers, dir, 0))
}

// cacheError tells what is missing from what can't be believed; all else is a
// registry that doesn't answer.
func cacheError(ctx context.Context, err error) error {
	switch reason := ReasonOf(err); {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, errdef.ErrNotFound):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case reason != "" && reason != Unreachable:
		return &cache.RejectedError{Err: err}
	}
	return err
}

// Has implements cache.Remote.
func (s StageCache) Has(ctx context.Context, key string) (bool, error) {
	repo, err := s.Access.repository(s.Repository)
	if err != nil {
		return false, err
	}
	_, err = repo.Resolve(ctx, key)
	if errors.Is(err, errdef.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, remoteError(fmt.Errorf("looking for %s in %s: %w", key, repo.Reference, err))
	}
	return true, nil
}

// Push implements cache.Remote. The tag comes last, when all is in place and
// signed.
func (s StageCache) Push(ctx context.Context, key string, files []cache.RemoteFile) error {
	if s.Signer == nil {
		return fault.Inputf("sending results of stages to %q: no signer is given", s.Repository)
	}
	repo, err := s.Access.repository(s.Repository)
	if err != nil {
		return err
	}
	p := newPusher(repo, "", Options{Access: s.Access})
	a, _, err := newAttester(ctx, p, s.Signer)
	if err != nil {
		return err
	}
	var layers []ocispec.Descriptor
	var blobs []file
	for _, f := range files {
		b := file{title: f.Name, path: f.Path, mediaType: cacheFileType, sha256: f.SHA256, size: f.Size}
		blobs, layers = append(blobs, b), append(layers, b.descriptor())
	}
	if _, err := p.bytes(ctx, ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data); err != nil {
		return err
	}
	if err := p.blobs(ctx, blobs); err != nil {
		return err
	}
	m, err := pack(ocispec.Manifest{ArtifactType: CacheArtifactType, Layers: layers})
	if err != nil {
		return err
	}
	if err := p.manifest(ctx, m, "", key); err != nil {
		return err
	}
	statement, err := newStatement(s.Repository, m.desc.Digest.Encoded(), PredicateSignature, struct{}{})
	if err != nil {
		return err
	}
	claims := []claim{{predicateType: PredicateSignature, statement: statement}}
	if _, err := a.attest(ctx, m.desc, stamp(time.Unix(0, 0)), key, claims); err != nil {
		return err
	}
	return p.manifest(ctx, m, key, key)
}
