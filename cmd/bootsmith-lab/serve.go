package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/publish/localstack"
)

func newServe(env cli.Env) *cobra.Command {
	var config localstack.Config
	var issuers []string
	var issuer localstack.OIDCIssuer
	var kind string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve keyless signing: Fulcio, a timestamp authority, Rekor",
		Long: `Serves a keyless signing stack until Ctrl-C. Keys and log stay in --state, whose
trusted_root.json and signing_config.json are for the clients.

Without --oidc-issuer, it is for trying things out: an issuer of its own gives
tokens to whoever has the bearer token that is printed, and a registry takes
everything from everybody on this machine.

With --oidc-issuer, it is a private instance for a team: certificates are given
for tokens of that issuer only, there is no registry, and each certificate is
written to stderr. Put TLS in front of it and name the address with --public-url.
Read the threat model in the README first.`,
		Example: `  bootsmith-lab sigstore serve --state ./sigstore --listen 127.0.0.1:5555
  bootsmith-lab sigstore serve --state /var/lib/sigstore --listen 127.0.0.1:5555 --public-url https://sigstore.example.org \
    --oidc-issuer https://git.example.org/api/actions`,
		RunE: func(c *cobra.Command, _ []string) error {
			config.Now = env.Now
			for _, url := range issuers {
				issuer.URL, issuer.Kind = url, localstack.IssuerKind(kind)
				config.Issuers = append(config.Issuers, issuer)
			}
			if len(issuers) > 0 {
				config.Log = func(format string, args ...any) {
					fmt.Fprintf(env.Stderr, env.Now().UTC().Format(time.RFC3339)+" "+format+"\n", args...)
				}
			}
			stack, err := localstack.Start(c.Context(), config)
			if err != nil {
				return fault.Default(fault.Remote, err)
			}
			printStack(env, stack)
			<-c.Context().Done()
			return shutdown(stack)
		},
	}
	f := c.Flags()
	f.StringVar(&config.Dir, "state", ".state/sigstore", "folder for keys and state")
	f.StringVar(&config.Addr, "listen", "127.0.0.1:0", "address; without --oidc-issuer a loopback one")
	f.StringVar(&config.PublicURL, "public-url", "", "where clients reach it, if not at that address: the URL of a proxy with TLS")
	f.StringSliceVar(&issuers, "oidc-issuer", nil, "OpenID Connect issuers, the only ones whose tokens are taken")
	f.StringVar(&kind, "oidc-kind", string(localstack.WorkflowIssuer), "what their tokens are about: workflow (GitHub, Forgejo) or email (Keycloak and other logins)")
	f.StringVar(&issuer.Server, "oidc-server", "", "URL that the names of workflows begin with (default: the issuer's scheme and host)")
	f.StringVar(&issuer.Audience, "oidc-audience", localstack.Audience, "audience that tokens must have")
	return c
}

// shutdownLimit is how long open requests may take at the end.
const shutdownLimit = 5 * time.Second

func shutdown(stack *localstack.Stack) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	return fault.Default(fault.Remote, stack.Shutdown(ctx))
}

func printStack(env cli.Env, s *localstack.Stack) {
	if s.Registry != "" {
		fmt.Fprintf(env.Stdout, "registry        %s (plain HTTP)\n", s.Registry)
	} else {
		fmt.Fprintf(env.Stdout, "address         %s\n", s.URL)
	}
	fmt.Fprintf(env.Stdout, "signing config  %s\n", s.SigningConfigPath)
	fmt.Fprintf(env.Stdout, "trusted root    %s\n", s.TrustedRootPath)
	if s.Registry == "" {
		return
	}
	fmt.Fprintf(env.Stdout, "identity        %s\n", s.Identity)
	fmt.Fprintf(env.Stdout, "issuer          %s\n", s.Issuer)
	fmt.Fprintf(env.Stdout, "token           ACTIONS_ID_TOKEN_REQUEST_URL=%q ACTIONS_ID_TOKEN_REQUEST_TOKEN=%q\n", s.ActionsTokenURL, s.ActionsToken)
}
