package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
)

// verified is what verify prints of one reference with --json.
type verified struct {
	Ref       string `json:"ref"`
	Verified  bool   `json:"verified"`
	Digest    string `json:"digest,omitempty"`
	Identity  string `json:"identity,omitempty"` // or the key's name
	Issuer    string `json:"issuer,omitempty"`
	SignedAt  string `json:"signed_at,omitempty"` // RFC 3339
	Family    string `json:"artifact_family,omitempty"`
	Arch      string `json:"arch,omitempty"`
	Composefs string `json:"composefs_digest,omitempty"`
	Layers    int    `json:"layers"`
	// Checked tells whether every layer's bytes were read and hashed.
	Checked    bool     `json:"layers_checked"`
	Predicates []string `json:"predicates"`
	// TrustRootEnd is when the first service of the trust root ends, RFC 3339.
	TrustRootEnd string   `json:"trust_root_end,omitempty"`
	Warnings     []string `json:"warnings,omitempty"`
	// Reason is the refusal in one word, as the platform records it, Error in
	// many.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
}

// runVerify verifies references one after the other, and fails when one was
// refused.
func runVerify(ctx context.Context, env Env, flags verifyFlags, refs []string) error {
	policy, err := newPolicy(env, flags)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		pubs, err := publish.ReadPublications(flags.output)
		if err != nil {
			return err
		}
		for _, p := range pubs.Publications {
			refs = append(refs, p.OCIRef)
		}
	}
	access, err := flags.registry.access(env, refs...)
	if err != nil {
		return err
	}
	var first error
	refused := 0
	for _, ref := range refs {
		v, err := verifyOne(ctx, access, flags, policy, ref)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			refused++
			if first == nil {
				first = fmt.Errorf("verifying %q: %w", ref, err)
			}
		}
		if v.Verified || flags.json || len(refs) > 1 {
			if err := printVerified(env, flags.json, v); err != nil {
				return err
			}
		}
	}
	if refused > 1 {
		return fmt.Errorf("verifying %d references: %d were refused, first: %w", len(refs), refused, first)
	}
	return first
}

// verifyOne verifies a reference; what it returns says as much as is known also
// with an error.
func verifyOne(ctx context.Context, access publish.Access, flags verifyFlags, policy publish.Policy, ref string) (verified, error) {
	v := verified{Ref: ref}
	r, err := publish.Verify(ctx, access, ref, policy)
	if err == nil {
		v.take(r)
		if !flags.skipLayers {
			err = publish.CheckLayers(ctx, access, ref, r.Layers, 0)
			v.Checked = err == nil
		}
	}
	v.Verified = err == nil
	if err != nil {
		v.Reason, v.Error = string(publish.ReasonOf(err)), err.Error()
		if fault.ClassOf(err) == fault.Input {
			v.Reason = "bad_input"
		}
	}
	return v, err
}

func (v *verified) take(r *publish.Result) {
	v.Digest, v.Identity, v.Issuer, v.Layers, v.Warnings = r.Digest, r.Identity, r.Issuer, len(r.Layers), r.Warnings
	v.SignedAt, v.TrustRootEnd = stampOf(r.SignedAt), stampOf(r.TrustEnd.End)
	if p := r.Publication; p != nil {
		v.Family, v.Arch, v.Composefs = p.ArtifactFamily, p.Arch, p.ComposefsDigest
	}
	for _, a := range r.Attestations {
		v.Predicates = append(v.Predicates, a.PredicateType)
	}
}

// stampOf writes a time, and nothing for the zero time.
func stampOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// printVerified prints an object or a line.
func printVerified(env Env, asJSON bool, v verified) error {
	if asJSON {
		return json.NewEncoder(env.Stdout).Encode(v)
	}
	if !v.Verified {
		_, err := fmt.Fprintf(env.Stdout, "refused %s: %s\n", v.Ref, printable(v.Error))
		return err
	}
	line := fmt.Sprintf("verified %s %s %s: %d layers, %d statements, signed by %s", v.Arch, v.Family, v.Digest, v.Layers, len(v.Predicates), printable(v.Identity))
	if v.TrustRootEnd != "" {
		line += ", trust root until " + v.TrustRootEnd[:len(time.DateOnly)]
	}
	_, err := fmt.Fprintln(env.Stdout, line)
	return err
}
