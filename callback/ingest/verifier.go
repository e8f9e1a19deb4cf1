package ingest

import (
	"context"
	"encoding/json"
)

// Verifier fetches a manifest by digest, verifies its signature and re-hashes
// everything it refers to.
type Verifier interface {
	// Verify returns what is proven about r.OCIRef. An error that is a
	// *VerifyError names the publication_status; every other one becomes
	// StatusVerificationFailed. It must return soon after ctx is done.
	Verify(ctx context.Context, r VerifyRequest) (Evidence, error)
}

// VerifyRequest names a manifest and who must have signed it.
type VerifyRequest struct {
	OCIRef string // "registry/repository@sha256:…"
	// IdentityRegexp and IssuerRegexp are anchored: `\A(?:…)\z`.
	IdentityRegexp, IssuerRegexp string
}

// Evidence is what a Verifier has proven.
type Evidence struct {
	// ManifestDigest ("sha256:…") and ManifestSize (bytes) are those of the
	// manifest's bytes as they were fetched and hashed.
	ManifestDigest string
	ManifestSize   int64
	MediaType      string
	Annotations    map[string]string
	// Layers are the manifest's layers, each read from the registry and hashed.
	Layers []Layer
	// Identity and Issuer are those of the signing certificate.
	Identity, Issuer string
	// Publication is the predicate of the signed publication statement about
	// the manifest: a JSON object with the event's field names.
	Publication json.RawMessage
}

// Layer is one verified file of an artifact.
type Layer struct {
	Title     string `json:"title"`
	MediaType string `json:"media_type"`
	Digest    string `json:"digest"` // "sha256:…"
	Size      int64  `json:"size"`   // bytes
}

// VerifyError says why a manifest is not proven.
type VerifyError struct {
	// Status is the publication_status: one of the constants, or a word of
	// lower-case letters and underscores.
	Status string
	Err    error
}

// Error returns the words.
func (e *VerifyError) Error() string { return e.Err.Error() }

// Unwrap returns the words.
func (e *VerifyError) Unwrap() error { return e.Err }

// The values of Publication.Status.
const (
	StatusQueued    = "queued"
	StatusVerifying = "verifying"
	StatusPublished = "published"
	StatusFailed    = "failed"
)

// The values of Publication.PublicationStatus beside those of Status.
const (
	// StatusSuperseded: published, but a later build was current already.
	StatusSuperseded = "superseded"
	// StatusReverifying: published, and a changed event is being verified.
	StatusReverifying = "reverifying"

	StatusManifestUnreachable = "manifest_unreachable" // is tried again a few times
	StatusCosignVerifyFailed  = "cosign_verify_failed" // no good signature of the right identity
	StatusDigestMismatch      = "digest_mismatch"      // registry, manifest and event disagree
	StatusPredicateMissing    = "predicate_missing"    // no signed publication statement
	StatusPredicateMismatch   = "predicate_mismatch"   // it says something else than the event
	StatusVerificationTimeout = "verification_timeout"
	StatusVerificationCrashed = "verification_crashed" // the verifier panicked
	StatusVerificationAborted = "verification_aborted" // the process died too often during it
	StatusVerificationFailed  = "verification_failed"  // anything else
)
