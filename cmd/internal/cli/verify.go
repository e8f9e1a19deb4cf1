package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
)

type verifyFlags struct {
	identity, issuer, trustedRoot, output string
	key                                   string
	predicates                            []string
	json, skipLayers, cross               bool
	registry                              registryFlags
}

// verified is what verify prints of one reference with --json.
type verified struct {
	Ref       string `json:"ref"`
	Digest    string `json:"digest"`
	Identity  string `json:"identity"`
	Issuer    string `json:"issuer"`
	Family    string `json:"artifact_family,omitempty"`
	Arch      string `json:"arch,omitempty"`
	Composefs string `json:"composefs_digest,omitempty"`
	Layers    int    `json:"layers"`
	// Checked tells whether every layer's bytes were read and hashed.
	Checked    bool     `json:"layers_checked"`
	Predicates []string `json:"predicates"`
}

func newVerify(env Env) *cobra.Command {
	var flags verifyFlags
	c := &cobra.Command{
		Use:   "verify [REF…|DIR]",
		Short: "Verify published artifacts: signature, identity, statements, bytes, one root",
		Long: `Verifies references in a registry against a pinned trust root. Only the
registry is contacted. Both patterns (RE2) must match the whole identity and
issuer. Without a reference, everything in <output-dir>/publication.json is
verified.

With --cross, all artifacts of a build are opened and the digests of their roots
computed again, which must be the same in all of them: of a folder that build
wrote, or of a build's index in a registry, which is verified first and pulled to
a temporary folder.`,
		Example: `  bootsmith verify registry.example.com/acme/images/minimal@sha256:… --trusted-root trusted_root.json \
    --identity-regexp 'https://gitea\.example\.org/acme/images/.*@refs/heads/main' --issuer-regexp 'https://gitea\.example\.org/.*'
  bootsmith verify --cross build`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, refs []string) error {
			if flags.cross {
				return runCross(c.Context(), env, flags, refs)
			}
			return fault.Default(fault.Remote, runVerify(c.Context(), env, flags, refs))
		},
	}
	f := c.Flags()
	flags.registerTrust(f)
	f.StringSliceVar(&flags.predicates, "predicate", nil, "predicate types that must be attested, beside the signature")
	f.StringVarP(&flags.output, "output-dir", "o", "build", "folder with publication.json")
	f.BoolVar(&flags.json, "json", false, "print one JSON object per reference, or per artifact with --cross")
	f.BoolVar(&flags.cross, "cross", false, "prove that all artifacts of a build hold one root")
	f.BoolVar(&flags.skipLayers, "skip-layers", false, "don't read the layers' bytes")
	flags.registry.register(c)
	return c
}

// registerTrust registers the flags that say who is believed.
func (v *verifyFlags) registerTrust(f *pflag.FlagSet) {
	f.StringVar(&v.identity, "identity-regexp", "", "who may sign: pattern for the certificate's subject")
	f.StringVar(&v.issuer, "issuer-regexp", "", "pattern for the issuer of the signer's identity token")
	f.StringVar(&v.key, "key", "", "public key (PEM) of who signed with a key, instead of the patterns")
	f.StringVar(&v.trustedRoot, "trusted-root", "", "Sigstore trusted_root.json (default: "+TrustedRootVariable+")")
}

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
	for _, ref := range refs {
		v, err := verifyOne(ctx, access, flags, policy, ref)
		if err != nil {
			return fmt.Errorf("verifying %q: %w", ref, err)
		}
		if err := printVerified(env, flags.json, v); err != nil {
			return err
		}
	}
	return nil
}

// newPolicy makes the policy of the flags and prints its warnings.
func newPolicy(env Env, flags verifyFlags) (publish.Policy, error) {
	policy := publish.Policy{
		TrustedRootPath: firstOf(flags.trustedRoot, env.Getenv(TrustedRootVariable)),
		IdentityRegexp:  flags.identity, IssuerRegexp: flags.issuer, RequirePredicates: flags.predicates,
		PublicKeyPath: flags.key, Now: env.Now,
	}
	warnings, err := policy.Check()
	for _, w := range warnings {
		fmt.Fprintf(env.Stderr, "warning: %s\n", w)
	}
	return policy, err
}

func verifyOne(ctx context.Context, access publish.Access, flags verifyFlags, policy publish.Policy, ref string) (verified, error) {
	r, err := publish.Verify(ctx, access, ref, policy)
	if err != nil {
		return verified{}, err
	}
	v := verified{Ref: ref, Digest: r.Digest, Identity: r.Identity, Issuer: r.Issuer, Layers: len(r.Layers)}
	if p := r.Publication; p != nil {
		v.Family, v.Arch, v.Composefs = p.ArtifactFamily, p.Arch, p.ComposefsDigest
	}
	for _, a := range r.Attestations {
		v.Predicates = append(v.Predicates, a.PredicateType)
	}
	if flags.skipLayers {
		return v, nil
	}
	v.Checked = true
	return v, publish.CheckLayers(ctx, access, ref, r.Layers, 0)
}

func printVerified(env Env, asJSON bool, v verified) error {
	if asJSON {
		return json.NewEncoder(env.Stdout).Encode(v)
	}
	_, err := fmt.Fprintf(env.Stdout, "verified %s %s %s: %d layers, %d statements, signed by %s\n", v.Arch, v.Family, v.Digest, v.Layers, len(v.Predicates), v.Identity)
	return err
}
