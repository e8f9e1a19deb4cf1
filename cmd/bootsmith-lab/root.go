package main

import (
	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/cmd/internal/cli"
)

func newRoot(env cli.Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "bootsmith-lab",
		Short: "Bootsmith against a registry and a certificate authority of its own",
		Long: `Runs the services that Bootsmith publishes to in one process. By itself, its
certificate authority certifies whoever asks from this machine: never trust it
together with production signers. With an OIDC issuer, it is a private signing
instance for a team.`,
	}
	root.AddCommand(newDemo(env), newSigstore(env))
	return root
}

func newSigstore(env cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "sigstore", Short: "Keyless signing services of one's own"}
	c.AddCommand(newServe(env))
	return c
}
