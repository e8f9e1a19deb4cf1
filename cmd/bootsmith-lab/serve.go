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
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve a registry, an identity issuer, Fulcio, a timestamp authority and Rekor",
		Long: `Serves a registry and a keyless signing stack until Ctrl-C. Keys and state stay
in --state; trusted_root.json and signing_config.json are written there.`,
		Example: "  bootsmith-lab sigstore serve --state ./sigstore --listen 127.0.0.1:5555",
		RunE: func(c *cobra.Command, _ []string) error {
			config.Now = env.Now
			stack, err := localstack.Start(c.Context(), config)
			if err != nil {
				return fault.Default(fault.Remote, err)
			}
			printStack(env, stack)
			<-c.Context().Done()
			return shutdown(stack)
		},
	}
	c.Flags().StringVar(&config.Dir, "state", ".state/sigstore", "folder for keys and state")
	c.Flags().StringVar(&config.Addr, "listen", "127.0.0.1:0", "loopback address")
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
	fmt.Fprintf(env.Stdout, "registry        %s (plain HTTP)\n", s.Registry)
	fmt.Fprintf(env.Stdout, "signing config  %s\n", s.SigningConfigPath)
	fmt.Fprintf(env.Stdout, "trusted root    %s\n", s.TrustedRootPath)
	fmt.Fprintf(env.Stdout, "identity        %s\n", s.Identity)
	fmt.Fprintf(env.Stdout, "issuer          %s\n", s.Issuer)
	fmt.Fprintf(env.Stdout, "token           ACTIONS_ID_TOKEN_REQUEST_URL=%q ACTIONS_ID_TOKEN_REQUEST_TOKEN=%q\n", s.ActionsTokenURL, s.ActionsToken)
}
