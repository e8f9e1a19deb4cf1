package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
)

// Result is what has been verified about a manifest. All of it is covered by a
// signature of an identity that the policy admits; the layers' bytes are not
// read yet (CheckLayers, PullLayers).
type Result struct {
	Digest       string // of the manifest, "sha256:…"
	Size         int64  // of the manifest, bytes
	MediaType    string
	ArtifactType string
	Annotations  map[string]string
	Layers       []Layer // empty for an index
	Entries      []Entry // of an index

	// Identity and Issuer signed the manifest, at SignedAt.
	Identity, Issuer string
	SignedAt         time.Time
	// Attestations are all valid statements, the newest first.
	Attestations []Attestation
	// Publication is the newest publication statement; nil when there is none.
	Publication *PublicationPredicate
	// SBOMs are the digests of the referrers with an SPDX or CycloneDX SBOM.
	SBOMs []string
	// Warnings are about the policy and the trust root.
	Warnings []string
	// TrustEnd is when the trust root ends.
	TrustEnd TrustEnd
}

// Layer is a file of an artifact.
type Layer struct {
	Title     string // its name; empty for an image's layers
	MediaType string
	Digest    string // "sha256:…"
	Size      int64  // bytes
}

// Entry is a manifest that an index names. Its own signature is its own matter.
type Entry struct {
	Digest, ArtifactType, Arch, Family string
}

// Attestation is a verified statement about the manifest.
type Attestation struct {
	PredicateType    string // as signed
	Predicate        json.RawMessage
	Referrer         string // the digest of the manifest that holds it
	Identity, Issuer string
	SignedAt         time.Time // by the timestamp authority or the log
}

// Predicate returns the newest predicate of a type, nil when there is none.
func (r *Result) Predicate(predicateType string) json.RawMessage {
	for _, a := range r.Attestations {
		if a.PredicateType == predicateType {
			return a.Predicate
		}
	}
	return nil
}

// Verify fetches the manifest that a reference names and verifies its signature
// and attestations. Only the registry is contacted. A tag is resolved first; a
// caller that must have one manifest names it by digest.
//
// A refusal is a VerifyError of class fault.Remote, a policy that cannot be used
// is of class fault.Input.
func Verify(ctx context.Context, a Access, ref string, p Policy) (*Result, error) {
	repo, err := a.repository(ref)
	if err != nil {
		return nil, err
	}
	if repo.Reference.Reference == "" {
		return nil, fault.Inputf("verifying %q: it has neither a tag nor a digest", ref)
	}
	return verifyIn(ctx, repo, repo.Reference.Reference, ref, p)
}

// VerifyLayout does the same in an OCI layout folder, where ref is a tag or a
// digest.
func VerifyLayout(ctx context.Context, dir, ref string, p Policy) (*Result, error) {
	layout, err := oci.NewFromFS(ctx, os.DirFS(dir))
	if err != nil {
		return nil, fault.Inputf("reading the OCI layout %q: %w", dir, err)
	}
	return verifyIn(ctx, layout, ref, dir+"@"+ref, p)
}

func verifyIn(ctx context.Context, t target, reference, name string, p Policy) (*Result, error) {
	c, warnings, err := p.compile()
	if err != nil {
		return nil, err
	}
	desc, raw, err := fetchManifest(ctx, t, reference)
	if err != nil {
		return nil, readingRefused("fetching "+name, err)
	}
	result, err := describe(desc, raw)
	if err != nil {
		return nil, refuse(DigestMismatch, "reading the manifest %s: %w", name, err)
	}
	result.Warnings, result.TrustEnd = warnings, c.end
	bundles, err := bundlesOf(ctx, t, desc)
	if err != nil {
		return nil, readingRefused("fetching the signatures of "+name, err)
	}
	last, err := result.collect(c, desc, bundles)
	if err != nil {
		return nil, err
	}
	if err := result.judge(name, len(bundles), last, p.RequirePredicates); err != nil {
		return nil, err
	}
	return result, checkBeside(ctx, t, p, result.Layers)
}

// fetchManifest returns the bytes that the reference names; those under a digest
// have that digest.
func fetchManifest(ctx context.Context, t target, reference string) (ocispec.Descriptor, []byte, error) {
	desc, err := t.Resolve(ctx, reference)
	if err != nil {
		return desc, nil, err
	}
	if err := checkDigest(desc.Digest); err != nil {
		return desc, nil, err
	}
	if !readable(desc, maxManifest) {
		return desc, nil, fmt.Errorf("it has %d bytes, more than a manifest may have", desc.Size)
	}
	raw, err := content.FetchAll(ctx, t, desc)
	if err != nil {
		return desc, nil, err
	}
	// An OCI layout does not know the media type of what a digest names.
	var kind struct {
		MediaType string `json:"mediaType"`
	}
	if json.Unmarshal(raw, &kind) == nil && kind.MediaType != "" {
		desc.MediaType = kind.MediaType
	}
	return desc, raw, nil
}

// describe reads a manifest or an index.
func describe(desc ocispec.Descriptor, raw []byte) (*Result, error) {
	r := &Result{Digest: desc.Digest.String(), Size: desc.Size, MediaType: desc.MediaType}
	if desc.MediaType == ocispec.MediaTypeImageIndex {
		var index ocispec.Index
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, err
		}
		r.ArtifactType, r.Annotations = index.ArtifactType, index.Annotations
		for _, d := range index.Manifests {
			r.Entries = append(r.Entries, Entry{Digest: d.Digest.String(), ArtifactType: d.ArtifactType, Arch: entryArch(d), Family: d.Annotations[AnnotationFamily]})
		}
		return r, nil
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	r.ArtifactType, r.Annotations = m.ArtifactType, m.Annotations
	for _, d := range m.Layers {
		if err := checkDigest(d.Digest); err != nil {
			return nil, err
		}
		r.Layers = append(r.Layers, Layer{Title: d.Annotations[ocispec.AnnotationTitle], MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size})
	}
	return r, nil
}

// collect verifies the bundles and keeps the valid ones. It returns the last
// refusal, for the error message in case that nothing is valid.
func (r *Result) collect(c checker, desc ocispec.Descriptor, bundles []attached) (last, err error) {
	digest, err := digestBytes(desc.Digest)
	if err != nil {
		return nil, err
	}
	for _, b := range bundles {
		v, err := c.check(b.bundle, digest)
		if err != nil {
			last = err
			continue
		}
		s, err := parseStatement(v.payload)
		if err != nil {
			last = err
			continue
		}
		r.Attestations = append(r.Attestations, Attestation{
			PredicateType: s.PredicateType, Predicate: s.Predicate, Referrer: b.referrer.Digest.String(),
			Identity: v.identity, Issuer: v.issuer, SignedAt: v.time,
		})
	}
	slices.SortStableFunc(r.Attestations, func(a, b Attestation) int { return b.SignedAt.Compare(a.SignedAt) })
	return last, nil
}

// judge decides whether what is valid is enough, and reads what it says.
func (r *Result) judge(name string, bundles int, last error, required []string) error {
	signed := slices.IndexFunc(r.Attestations, func(a Attestation) bool { return a.PredicateType == PredicateSignature })
	switch {
	case signed >= 0:
	case bundles == 0:
		return refuse(SignatureFailed, "verifying %s: nothing is signed: it has no Sigstore bundle among its referrers", name)
	case last != nil:
		return refuse(SignatureFailed, "verifying %s: none of %d bundles is a valid signature: %w", name, bundles, last)
	default:
		return refuse(SignatureFailed, "verifying %s: it has attestations, but no signature", name)
	}
	r.Identity, r.Issuer, r.SignedAt = r.Attestations[signed].Identity, r.Attestations[signed].Issuer, r.Attestations[signed].SignedAt
	for _, want := range required {
		if r.Predicate(want) == nil {
			return refuse(PredicateMissing, "verifying %s: there is no valid attestation of type %s", name, want)
		}
	}
	for _, a := range r.Attestations {
		if a.PredicateType == PredicateSPDX || a.PredicateType == PredicateCycloneDX {
			r.SBOMs = append(r.SBOMs, a.Referrer)
		}
	}
	if raw := r.Predicate(PredicatePublication); raw != nil {
		r.Publication = &PublicationPredicate{}
		if err := json.Unmarshal(raw, r.Publication); err != nil {
			return refuse(PredicateMismatch, "verifying %s: reading its publication statement: %w", name, err)
		}
	}
	return nil
}

// VerifyFile verifies a bundle file over another file: a signature of the file,
// or an attestation whose subject it is, as they lie beside a pulled disk image. Such a
// bundle need have no log entry, whatever the policy says of logs: the manifest
// that names it is signed with one.
func VerifyFile(ctx context.Context, path, bundlePath string, p Policy) error {
	p.AllowNoLog = true
	c, _, err := p.compile()
	if err != nil {
		return err
	}
	raw, err := readBounded(bundlePath, maxBundle)
	if err != nil {
		return fault.Inputf("reading the bundle: %w", err)
	}
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(raw); err != nil {
		return refuse(SignatureFailed, "reading the bundle %q: %w", bundlePath, err)
	}
	sum, err := hashFile(ctx, path)
	if err != nil {
		return fault.Inputf("reading the signed file: %w", err)
	}
	if _, err := c.check(b, sum); err != nil {
		return refuse(SignatureFailed, "verifying %q: %w", path, err)
	}
	return nil
}
