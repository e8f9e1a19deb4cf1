package cli

import (
	"context"
	"fmt"
	"strings"

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
	// KeyPassphraseVariable is cosign's own.
	KeyPassphraseVariable = "COSIGN_PASSWORD"
)

// publishFlags are the flags of every verb that publishes, beside --file,
// --output-dir and those about registries.
type publishFlags struct {
	repository, signingConfig, trustedRoot string
	token, tokenFile, tokenCommand         string
	key, keyPassphrase, logFormat          string
	cosign2                                bool
	mountFrom                              string
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
	f.StringVar(&p.key, "key", "", "sign with this private key (PEM, P-256) instead of an identity; the signing services may be left out")
	f.StringVar(&p.keyPassphrase, "key-passphrase-file", "", "file with the key's passphrase (default: "+KeyPassphraseVariable+")")
	f.BoolVar(&p.cosign2, "cosign-2-signatures", false, "also write the .sig and .att tags that cosign 2 verifies")
	f.IntVar(&p.uploads, "uploads", 4, "files to send at a time")
	f.StringVar(&p.mountFrom, "mount-from", "", "repository of the same registry, without its host, from which it takes files that it has there")
}

func newPublish(env Env) *cobra.Command {
	var flags publishFlags
	var file, output string
	var arches []string
	var resume bool
	c := &cobra.Command{
		Use:   "publish",
		Short: "Push a build to a registry, sign and attest it",
		Long: `Pushes what build wrote, signs each artifact keylessly, attaches SBOM,
provenance and publication statements, and writes publication.json into the
output folder. What is in the registry already is not sent again, and what is
signed already is not signed again.

When it was interrupted, or a signing service was down, what was pushed stays.
--resume goes on with the same build, architectures and repository, and refuses
when the build has changed since.`,
		Example: "  bootsmith publish --repository registry.example.com/acme/images --signing-config signing_config.json --trusted-root trusted_root.json",
		RunE: func(c *cobra.Command, _ []string) error {
			build := publish.Build{Dir: output, Arches: arches}
			var repository string
			var err error
			if resume {
				repository, build.Arches, err = resumed(output, flags.repository, arches)
			} else {
				repository, err = pickRepository(env, flags.repository, file)
			}
			if err != nil {
				return err
			}
			pubs, err := runPublish(c.Context(), env, flags, repository, build, resume)
			if err != nil {
				return fault.Default(fault.Remote, err)
			}
			return printPublished(env, pubs)
		},
	}
	c.Flags().StringVarP(&file, "file", "f", spec.FileName, "platform definition, for its publish.repository")
	c.Flags().StringVarP(&output, "output-dir", "o", "build", "folder that build wrote")
	c.Flags().StringSliceVar(&arches, "arch", nil, "architectures to publish (default: all that were built)")
	registerLogFormat(c.Flags(), &flags.logFormat)
	c.Flags().BoolVar(&resume, "resume", false, "go on with an earlier publish of this build")
	flags.register(c)
	flags.registry.register(c)
	return c
}

// resumed returns where an earlier publish was going, and with what.
func resumed(output, repository string, arches []string) (string, []string, error) {
	if len(arches) > 0 {
		return "", nil, fault.Inputf("resuming a publish: --arch is given").WithFix("leave it out: the architectures are those of the earlier publish")
	}
	begun, err := publish.ReadAttempt(output)
	if err != nil {
		return "", nil, err
	}
	if repository == "" {
		repository = begun.Repository
	}
	return repository, begun.Arches(), nil
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
func runPublish(ctx context.Context, env Env, flags publishFlags, repository string, build publish.Build, resume bool) (*publish.Publications, error) {
	signer, err := newSigner(env, flags)
	if err != nil {
		return nil, err
	}
	access, err := flags.registry.access(env, repository)
	if err != nil {
		return nil, err
	}
	if err := checkLogFormat(flags.logFormat); err != nil {
		return nil, err
	}
	progress := newPushReporter(env, flags.logFormat)
	pubs, err := publish.Publish(ctx, build, publish.Options{
		Repository: strings.TrimSuffix(repository, "/"), Access: access,
		Signer: signer, Cosign2: flags.cosign2, Run: publish.RunFromEnv(env.Getenv), Jobs: flags.uploads, MountFrom: flags.mountFrom, Resume: resume,
		Progress: progress.take,
	})
	if err != nil {
		return nil, err
	}
	progress.end()
	return pubs, pubs.Write(build.Dir)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
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
