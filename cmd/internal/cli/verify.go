package cli

import (
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

func newVerify(env Env) *cobra.Command {
	var flags verifyFlags
	c := &cobra.Command{
		Use:   "verify [REF…|DIR]",
		Short: "Verify published artifacts: signature, identity, statements, bytes, one root",
		Long: `Verifies references in a registry against a pinned trust root. Only the
registry is contacted. Both patterns (RE2) must match the whole identity and
issuer. Without a reference, everything in <output-dir>/publication.json is
verified. All references are looked at, also after a refusal.

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
	f.StringSliceVar(&flags.predicates, "predicate", nil, "what must be attested, beside the signature: spdxjson, cyclonedx, slsaprovenance1, publication or a predicate type's URI")
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

// newPolicy makes the policy of the flags and prints its warnings.
func newPolicy(env Env, flags verifyFlags) (publish.Policy, error) {
	predicates, err := predicateTypes(flags.predicates)
	if err != nil {
		return publish.Policy{}, err
	}
	policy := publish.Policy{
		TrustedRootPath: firstOf(flags.trustedRoot, env.Getenv(TrustedRootVariable)),
		IdentityRegexp:  flags.identity, IssuerRegexp: flags.issuer, RequirePredicates: predicates,
		PublicKeyPath: flags.key, Now: env.Now,
	}
	warnings, err := policy.Check()
	for _, w := range warnings {
		fmt.Fprintf(env.Stderr, "warning: %s\n", w)
	}
	return policy, err
}

func predicateTypes(names []string) (types []string, err error) {
	for _, name := range names {
		t, err := publish.PredicateType(name)
		if err != nil {
			return nil, err
		}
		types = append(types, t)
	}
	return types, nil
}
