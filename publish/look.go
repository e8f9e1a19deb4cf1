package publish

import (
	"context"
	"encoding/json"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"oras.land/oras-go/v2/content"
)

// Look is what a registry says of a manifest. Nothing in it is verified but that
// the manifest's bytes have its digest: a registry, or whoever may write to it,
// can make all of it up.
type Look struct {
	Result
	// ConfigType is the media type of an image's configuration.
	ConfigType string
	// Labels are those of an image's configuration.
	Labels map[string]string
	// Referrers are the manifests that are attached.
	Referrers []Referrer
}

// Referrer is a manifest that is attached to another one.
type Referrer struct {
	Digest       string // "sha256:…"
	ArtifactType string
	Size         int64 // of the manifest, bytes
	// Predicate is the type of statement that a bundle says it makes, Identity
	// and Issuer the signer that its certificate names. None is verified.
	Predicate, Identity, Issuer string
	// Content is what it says, of that type.
	Content json.RawMessage
}

// maxConfig bounds an image's configuration, in bytes.
const maxConfig = 4 << 20

// LookAt fetches the manifest that a reference names and lists what is attached
// to it, without verifying a signature.
func LookAt(ctx context.Context, a Access, ref string) (*Look, error) {
	repo, err := a.repository(ref)
	if err != nil {
		return nil, err
	}
	if repo.Reference.Reference == "" {
		return nil, fault.Inputf("inspecting %q: it has neither a tag nor a digest", ref)
	}
	desc, raw, err := fetchManifest(ctx, repo, repo.Reference.Reference)
	if err != nil {
		return nil, readingRefused("fetching "+ref, err)
	}
	result, err := describe(desc, raw)
	if err != nil {
		return nil, refuse(DigestMismatch, "reading the manifest %s: %w", ref, err)
	}
	look := &Look{Result: *result}
	if err := look.readConfig(ctx, repo, raw); err != nil {
		return nil, readingRefused("fetching the configuration of "+ref, err)
	}
	if look.Referrers, err = referrersOf(ctx, repo, desc); err != nil {
		return nil, readingRefused("listing what is attached to "+ref, err)
	}
	return look, nil
}

func (l *Look) readConfig(ctx context.Context, t target, manifest []byte) error {
	var m ocispec.Manifest
	if json.Unmarshal(manifest, &m) != nil || m.Config.MediaType == "" {
		return nil
	}
	l.ConfigType = m.Config.MediaType
	if m.Config.MediaType != ocispec.MediaTypeImageConfig || !readable(m.Config, maxConfig) {
		return nil
	}
	raw, err := fetchBlob(ctx, t, m.Config)
	if err != nil {
		return err
	}
	var config ocispec.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return err
	}
	l.Labels = config.Config.Labels
	return nil
}

// referrersOf lists what is attached, with what bundles say of themselves.
func referrersOf(ctx context.Context, t target, subject ocispec.Descriptor) ([]Referrer, error) {
	list, err := listReferrers(ctx, t, subject)
	if err != nil {
		return nil, err
	}
	bundles, err := bundlesOf(ctx, t, subject)
	if err != nil {
		return nil, err
	}
	var all []Referrer
	for _, d := range list {
		r := Referrer{Digest: d.Digest.String(), ArtifactType: d.ArtifactType, Size: d.Size}
		for _, b := range bundles {
			if b.referrer.Digest == d.Digest {
				r.claims(b)
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// claims reads what a bundle says of itself; what can't be read stays empty.
func (r *Referrer) claims(b attached) {
	if envelope := b.bundle.GetDsseEnvelope(); envelope != nil {
		if s, err := parseStatement(envelope.Payload); err == nil {
			r.Predicate, r.Content = s.PredicateType, s.Predicate
		}
	}
	material, err := b.bundle.VerificationContent()
	if err != nil || material.Certificate() == nil {
		return
	}
	if summary, err := certificate.SummarizeCertificate(material.Certificate()); err == nil {
		r.Identity, r.Issuer = summary.SubjectAlternativeName, summary.Issuer
	}
}

func fetchBlob(ctx context.Context, t target, d ocispec.Descriptor) ([]byte, error) {
	raw, err := content.FetchAll(ctx, t, d)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", d.Digest, err)
	}
	return raw, nil
}
