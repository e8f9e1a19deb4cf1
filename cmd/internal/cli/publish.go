package cli

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/publish"
)

// Environment variables that stand in for flags of publishing and verifying.
const (
	RepositoryVariable    = "BOOTSMITH_REPOSITORY"
	SigningConfigVariable = "BOOTSMITH_SIGNING_CONFIG"
	TrustedRootVariable   = "BOOTSMITH_TRUSTED_ROOT"
)

// publishFlags are the flags of every verb that publishes, beside --file,
// --output-dir and those about registries.
type publishFlags struct {
	repository, signingConfig, trustedRoot string
	token, tokenFile, tokenCommand         string
	cosign2                                bool
	uploads                                int
	registry                               registryFlags
}

func (p *publishFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.repository, "repository", "", "registry and repository prefix (default: "+RepositoryVariable+", then the definition's)")
	f.StringVar(&p.signingConfig, "signing-config", "", "Sigstore signing_config.json (default: "+SigningConfigVariable+")")
	f.StringVar(&p.trustedRoot, "trusted-root", "", "Sigstore trusted_root.json (default: "+TrustedRootVariable+")")
	f.StringVar(&p.token, "identity-token", "", "OIDC identity token to sign with; others on the machine may see it, a file is better")
	f.StringVar(&p.tokenFile, "identity-token-file", "", "file with the identity token, read for each use")
	f.StringVar(&p.tokenCommand, "identity-token-command", "", "program and arguments, split at spaces, that print the identity token")
	f.BoolVar(&p.cosign2, "cosign-2-signatures", false, "also write the .sig tags that cosign 2 verifies")
	f.IntVar(&p.uploads, "uploads", 4, "files to send at a time")
}

func newPublish(env Env) *cobra.Command {
	var flags publishFlags
	var file, output string
	var arches []string
	c := &cobra.Command{
		Use:   "publish",
		Short: "Push a build to a registry, sign and attest it",
		Long: `Pushes what build wrote, signs each artifact keylessly, attaches SBOM,
provenance and publication statements, and writes publication.json into the
output folder. What is in the registry already is not sent again.`,
		Example: "  bootsmith publish --repository registry.example.com/acme/images --signing-config signing_config.json --trusted-root trusted_root.json",
		RunE: func(c *cobra.Command, _ []string) error {
			repository, err := pickRepository(env, flags.repository, file)
			if err != nil {
				return err
			}
			pubs, err := runPublish(c.Context(), env, flags, repository, publish.Build{Dir: output, Arches: arches})
			if err != nil {
				return fault.Default(fault.Remote, err)
			}
			return printPublished(env, pubs)
		},
	}
	c.Flags().StringVarP(&file, "file", "f", spec.FileName, "platform definition, for its publish.repository")
	c.Flags().StringVarP(&output, "output-dir", "o", "build", "folder that build wrote")
	c.Flags().StringSliceVar(&arches, "arch", nil, "architectures to publish (default: all that were built)")
	flags.register(c)
	flags.registry.register(c)
	return c
}

// pickRepository returns the flag's, the environment's or the definition's
// repository.
func pickRepository(env Env, flag, file string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if v := env.Getenv(RepositoryVariable); v != "" {
		return v, nil
	}
	f, err := spec.Read(file)
	if err != nil {
		return "", err
	}
	if f.Publish.Repository == "" {
		return "", f.Bad("publish.repository", "missing").WithFix("name the registry there or with --repository")
	}
	return f.Publish.Repository, nil
}

// runPublish publishes a build and writes publication.json.
func runPublish(ctx context.Context, env Env, flags publishFlags, repository string, build publish.Build) (*publish.Publications, error) {
	signer, err := newSigner(env, flags)
	if err != nil {
		return nil, err
	}
	access, err := flags.registry.access(env, repository)
	if err != nil {
		return nil, err
	}
	pubs, err := publish.Publish(ctx, build, publish.Options{
		Repository: strings.TrimSuffix(repository, "/"), Access: access,
		Signer: signer, Cosign2: flags.cosign2, Run: publish.RunFromEnv(env.Getenv), Jobs: flags.uploads,
		Progress: newPublishReporter(env),
	})
	if err != nil {
		return nil, err
	}
	return pubs, pubs.Write(build.Dir)
}

func newSigner(env Env, flags publishFlags) (*publish.Signer, error) {
	signingConfig := firstOf(flags.signingConfig, env.Getenv(SigningConfigVariable))
	trustedRoot := firstOf(flags.trustedRoot, env.Getenv(TrustedRootVariable))
	if signingConfig == "" || trustedRoot == "" {
		return nil, fault.Inputf("preparing to sign: no signing services are named").
			WithFix("give --signing-config and --trusted-root, or set %s and %s", SigningConfigVariable, TrustedRootVariable)
	}
	token, err := publish.TokenOptions{
		Token: flags.token, File: flags.tokenFile, Command: flags.tokenCommand, Run: runTokenCommand, Getenv: env.Getenv,
	}.Source()
	if err != nil {
		return nil, err
	}
	return publish.NewSigner(publish.SignerOptions{SigningConfig: signingConfig, TrustedRoot: trustedRoot, Token: token, Now: env.Now})
}

// runTokenCommand runs a command line without a shell.
func runTokenCommand(ctx context.Context, line string) ([]byte, error) {
	argv := strings.Fields(line)
	if len(argv) == 0 {
		return nil, fault.Inputf("running --identity-token-command: it is empty")
	}
	return execProgram(ctx, "", argv...)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// newPublishReporter counts what is pushed, skipped and signed, and says what
// is new.
func newPublishReporter(env Env) func(publish.Event) {
	var mu sync.Mutex
	return func(e publish.Event) {
		if e.Kind != publish.Pushed && e.Kind != publish.Signed {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(env.Stderr, "%-28s           %s\n", "publish/"+string(e.Kind), e.Name)
	}
}

func printPublished(env Env, pubs *publish.Publications) error {
	for _, p := range pubs.Publications {
		if _, err := fmt.Fprintln(env.Stdout, p.OCIRef, p.Tag); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(env.Stdout, "%s@%s %s\n", pubs.Repository, pubs.Index.Digest, pubs.Index.Tag)
	return err
}
