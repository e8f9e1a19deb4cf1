package main

import (
	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/cmd/internal/cli"
)

func newRoot(env cli.Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "bootsmith-lab",
		Short: "Bootsmith against a registry and a certificate authority of its own",
		Long: `Runs the services that Bootsmith publishes to in one process on loopback. Its
certificate authority certifies whoever asks from this machine: never trust it
together with production signers.`,
	}
	root.AddCommand(newDemo(env), newSigstore(env))
	return root
}

func newSigstore(env cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "sigstore", Short: "The local registry and keyless signing services"}
	c.AddCommand(newServe(env))
	return c
}
