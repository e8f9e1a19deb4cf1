// Package receiver runs the ingest side as a server: it joins callback/ingest,
// which knows no registry and no Sigstore, with package publish, which verifies.
package receiver

import (
	"context"
	"errors"
	"fmt"

	"github.com/powernode/bootsmith/callback/ingest"
	"github.com/powernode/bootsmith/publish"
)

// Verifier verifies publications with the production verifier.
type Verifier struct {
	Access publish.Access
	// TrustedRootPath is Sigstore's trusted_root.json; it is read anew for
	// every verification, so that a rotated root needs no restart.
	TrustedRootPath string
}

// Verify verifies signature and publication statement and reads every layer.
func (v Verifier) Verify(ctx context.Context, r ingest.VerifyRequest) (ingest.Evidence, error) {
	policy := publish.Policy{
		TrustedRootPath: v.TrustedRootPath,
		IdentityRegexp:  r.IdentityRegexp, IssuerRegexp: r.IssuerRegexp,
		RequirePredicates: []string{publish.PredicatePublication},
	}
	result, err := publish.Verify(ctx, v.Access, r.OCIRef, policy)
	if err != nil {
		return ingest.Evidence{}, translate(err)
	}
	if err := publish.CheckLayers(ctx, v.Access, r.OCIRef, result.Layers, 0); err != nil {
		return ingest.Evidence{}, translate(err)
	}
	evidence := ingest.Evidence{
		ManifestDigest: result.Digest, ManifestSize: result.Size, MediaType: result.MediaType,
		Annotations: result.Annotations, Identity: result.Identity, Issuer: result.Issuer,
		Publication: result.Predicate(publish.PredicatePublication),
	}
	for _, l := range result.Layers {
		evidence.Layers = append(evidence.Layers, ingest.Layer{Title: l.Title, MediaType: l.MediaType, Digest: l.Digest, Size: l.Size})
	}
	return evidence, nil
}

// translate keeps the verifier's reason as the publication_status.
func translate(err error) error {
	var v *publish.VerifyError
	if !errors.As(err, &v) {
		return fmt.Errorf("verifying: %w", err)
	}
	return &ingest.VerifyError{Status: string(v.Reason), Err: err}
}
