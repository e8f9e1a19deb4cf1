package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/powernode/bootsmith/families/inspect"
	"github.com/powernode/bootsmith/publish"
)

// refInspector tells what a registry holds under references.
type refInspector struct {
	access publish.Access
	policy *publish.Policy // nil: nothing is verified
}

// inspectJobs is how many manifests of an index are looked at at once.
const inspectJobs = 4

// inspectRef tells what a registry holds under a reference.
func inspectRef(ctx context.Context, env Env, flags inspectFlags, ref string) (inspect.Report, error) {
	access, err := flags.registry.access(env, ref)
	if err != nil {
		return inspect.Report{}, err
	}
	i := refInspector{access: access}
	if flags.identity != "" || flags.issuer != "" || flags.key != "" {
		policy, err := newPolicy(env, flags.verifyFlags)
		if err != nil {
			return inspect.Report{}, err
		}
		i.policy = &policy
	}
	return i.report(ctx, ref)
}

func (i refInspector) report(ctx context.Context, ref string) (inspect.Report, error) {
	look, err := publish.LookAt(ctx, i.access, ref)
	if err != nil {
		return inspect.Report{}, err
	}
	r := inspect.Report{Name: ref, Kind: "artifact in a registry", Facts: inspect.Facts{{Name: "digest", Value: look.Digest}}}
	if len(look.Entries) > 0 {
		r.Kind = "index in a registry"
	} else if look.ConfigType == "application/vnd.oci.image.config.v1+json" {
		r.Kind = "image in a registry"
	}
	addFact(&r, "artifact type", look.ArtifactType)
	if err := i.addSignature(ctx, &r, ref, look.Digest); err != nil {
		return r, err
	}
	for _, key := range slices.Sorted(maps.Keys(look.Annotations)) {
		addFact(&r, "annotation "+key, look.Annotations[key])
	}
	for _, key := range slices.Sorted(maps.Keys(look.Labels)) {
		addFact(&r, "label "+key, look.Labels[key])
	}
	children, err := i.children(ctx, repositoryOf(ref), look.Entries)
	if err != nil {
		return r, err
	}
	r.Parts = append(r.Parts, children...)
	for _, l := range look.Layers {
		name := l.Title
		if name == "" {
			name = l.Digest
		}
		r.Parts = append(r.Parts, inspect.Report{Name: name, Kind: "layer " + l.MediaType, Size: l.Size, Facts: inspect.Facts{{Name: "digest", Value: l.Digest}}})
	}
	for _, l := range look.Referrers {
		part, err := referrerReport(l)
		if err != nil {
			return r, err
		}
		r.Parts = append(r.Parts, part)
	}
	return r, nil
}

// children reports on every manifest of an index.
func (i refInspector) children(ctx context.Context, repository string, entries []publish.Entry) ([]inspect.Report, error) {
	all := make([]inspect.Report, len(entries))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(inspectJobs)
	for n, e := range entries {
		g.Go(func() (err error) {
			all[n], err = i.report(ctx, repository+"@"+e.Digest)
			all[n].Name, all[n].Kind = e.Digest, "manifest of "+e.Family+" for "+e.Arch
			return err
		})
	}
	return all, g.Wait()
}

func addFact(r *inspect.Report, name, value string) {
	if value != "" {
		r.Facts = append(r.Facts, inspect.Fact{Name: name, Value: value})
	}
}

// referrerReport tells what is attached. What a bundle says of itself is only a
// claim.
func referrerReport(l publish.Referrer) (inspect.Report, error) {
	part := inspect.Report{Name: l.Digest, Kind: "attached " + l.ArtifactType, Size: l.Size}
	addFact(&part, "claims to state", l.Predicate)
	addFact(&part, "claims to be signed by", l.Identity)
	addFact(&part, "with a token of", l.Issuer)
	if !isSBOM(l.Predicate) {
		return part, nil
	}
	sbom, err := inspect.Document("claimed content", l.Content)
	part.Parts = append(part.Parts, sbom)
	return part, err
}

func isSBOM(predicateType string) bool {
	return predicateType == publish.PredicateSPDX || predicateType == publish.PredicateCycloneDX
}

// notVerified stands in the place of a verdict.
const notVerified = "not verified; give --trusted-root, --identity-regexp and --issuer-regexp"

// addSignature verifies the manifest if there is a policy, and describes the
// SBOMs that are attested.
func (i refInspector) addSignature(ctx context.Context, r *inspect.Report, ref, digest string) error {
	if i.policy == nil {
		addFact(r, "signature", notVerified)
		return nil
	}
	v, err := publish.Verify(ctx, i.access, repositoryOf(ref)+"@"+digest, *i.policy)
	if err != nil {
		return fmt.Errorf("verifying %q: %w", ref, err)
	}
	addFact(r, "signature", "verified")
	addFact(r, "signed by", v.Identity)
	addFact(r, "with a token of", v.Issuer)
	addFact(r, "signed at", stampOf(v.SignedAt))
	addFact(r, "trust root until", stampOf(v.TrustEnd.End))
	for _, a := range v.Attestations {
		part := inspect.Report{Name: a.Referrer, Kind: "verified statement " + a.PredicateType}
		if isSBOM(a.PredicateType) {
			if part, err = inspect.Document(a.Referrer, a.Predicate); err != nil {
				return err
			}
			part.Kind = "verified " + part.Kind
		}
		r.Parts = append(r.Parts, part)
	}
	return nil
}
