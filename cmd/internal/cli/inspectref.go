package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/powernode/bootsmith/families/inspect"
	"github.com/powernode/bootsmith/publish"
)

// inspectRef tells what a registry holds under a reference.
func inspectRef(ctx context.Context, env Env, flags inspectFlags, ref string) (inspect.Report, error) {
	access, err := flags.registry.access(env, ref)
	if err != nil {
		return inspect.Report{}, err
	}
	look, err := publish.LookAt(ctx, access, ref)
	if err != nil {
		return inspect.Report{}, err
	}
	r := inspect.Report{Name: ref, Kind: "artifact in a registry", Facts: inspect.Facts{{Name: "digest", Value: look.Digest}}}
	if len(look.Entries) > 0 {
		r.Kind = "index in a registry"
	} else if look.ConfigType == "application/vnd.oci.image.config.v1+json" {
		r.Kind = "image in a registry"
	}
	fact := func(name, value string) {
		if value != "" {
			r.Facts = append(r.Facts, inspect.Fact{Name: name, Value: value})
		}
	}
	fact("artifact type", look.ArtifactType)
	if err := addSignature(ctx, env, access, flags, &r, ref, look.Digest); err != nil {
		return r, err
	}
	for _, key := range slices.Sorted(maps.Keys(look.Annotations)) {
		fact("annotation "+key, look.Annotations[key])
	}
	for _, key := range slices.Sorted(maps.Keys(look.Labels)) {
		fact("label "+key, look.Labels[key])
	}
	for _, e := range look.Entries {
		r.Parts = append(r.Parts, inspect.Report{Name: e.Digest, Kind: "manifest of " + e.Family + " for " + e.Arch})
	}
	for _, l := range look.Layers {
		name := l.Title
		if name == "" {
			name = l.Digest
		}
		r.Parts = append(r.Parts, inspect.Report{Name: name, Kind: "layer " + l.MediaType, Size: l.Size, Facts: inspect.Facts{{Name: "digest", Value: l.Digest}}})
	}
	for _, l := range look.Referrers {
		r.Parts = append(r.Parts, referrerReport(l))
	}
	return r, nil
}

// referrerReport tells what is attached. What a bundle says of itself is only a
// claim.
func referrerReport(l publish.Referrer) inspect.Report {
	part := inspect.Report{Name: l.Digest, Kind: "attached " + l.ArtifactType, Size: l.Size}
	for _, f := range []inspect.Fact{
		{Name: "claims to state", Value: l.Predicate},
		{Name: "claims to be signed by", Value: l.Identity},
		{Name: "with a token of", Value: l.Issuer},
	} {
		if f.Value != "" {
			part.Facts = append(part.Facts, f)
		}
	}
	return part
}

// notVerified stands in the place of a verdict.
const notVerified = "not verified; give --trusted-root, --identity-regexp and --issuer-regexp"

// addSignature verifies the manifest if there is a policy, and describes the
// SBOMs that are attested.
func addSignature(ctx context.Context, env Env, access publish.Access, flags inspectFlags, r *inspect.Report, ref, digest string) error {
	if flags.identity == "" && flags.issuer == "" {
		r.Facts = append(r.Facts, inspect.Fact{Name: "signature", Value: notVerified})
		return nil
	}
	policy, err := newPolicy(env, flags.verifyFlags)
	if err != nil {
		return err
	}
	v, err := publish.Verify(ctx, access, repositoryOf(ref)+"@"+digest, policy)
	if err != nil {
		return fmt.Errorf("verifying %q: %w", ref, err)
	}
	r.Facts = append(r.Facts, inspect.Fact{Name: "signature", Value: "verified"},
		inspect.Fact{Name: "signed by", Value: v.Identity}, inspect.Fact{Name: "with a token of", Value: v.Issuer},
		inspect.Fact{Name: "signed at", Value: v.SignedAt.UTC().Format(time.RFC3339)})
	for _, a := range v.Attestations {
		part := inspect.Report{Name: a.Referrer, Kind: "verified statement " + a.PredicateType}
		if a.PredicateType == publish.PredicateSPDX || a.PredicateType == publish.PredicateCycloneDX {
			if part, err = inspect.Document(a.Referrer, a.Predicate); err != nil {
				return err
			}
			part.Kind = "verified " + part.Kind
		}
		r.Parts = append(r.Parts, part)
	}
	return nil
}
