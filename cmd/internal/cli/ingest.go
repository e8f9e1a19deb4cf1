package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/callback/ingest"
	"github.com/powernode/bootsmith/cmd/internal/receiver"
)

type ingestFlags struct {
	listen, db, keyFile, tokens, trustedRoot string
	workers                                  int
	registry                                 registryFlags
}

func newIngest(env Env) *cobra.Command {
	c := &cobra.Command{Use: "ingest", Short: "The platform side: receive, verify and record publications"}
	c.AddCommand(newIngestServe(env))
	return c
}

func newIngestServe(env Env) *cobra.Command {
	var flags ingestFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Receive webhooks, verify publications and serve them",
		Long: `Serves the ingest API until Ctrl-C, with a SQLite database. The key file
encrypts the webhooks' secrets in it and is made when it is missing. The tokens
file holds a line "name scopes secret" per bearer token, with the scopes read,
operate and worker separated by commas.`,
		Example: "  bootsmith ingest serve --listen 127.0.0.1:8080 --db ingest.db --tokens tokens --trusted-root trusted_root.json",
		RunE: func(c *cobra.Command, _ []string) error {
			return fault.Default(fault.Callback, serveIngest(c.Context(), env, flags))
		},
	}
	f := c.Flags()
	f.StringVar(&flags.listen, "listen", "127.0.0.1:8080", "address to listen on; put TLS in front of it")
	f.StringVar(&flags.db, "db", "ingest.db", "SQLite database")
	f.StringVar(&flags.keyFile, "key-file", "", "key for the secrets in the database (default: the database's path with .key)")
	f.StringVar(&flags.tokens, "tokens", "", "file with the API's bearer tokens; without it only webhooks are served")
	f.StringVar(&flags.trustedRoot, "trusted-root", "", "Sigstore trusted_root.json (default: "+TrustedRootVariable+")")
	f.IntVar(&flags.workers, "workers", 2, "verifications at a time")
	flags.registry.register(c)
	return c
}

func serveIngest(ctx context.Context, env Env, flags ingestFlags) error {
	trustedRoot := firstOf(flags.trustedRoot, env.Getenv(TrustedRootVariable))
	if trustedRoot == "" {
		return fault.Inputf("preparing to verify: no trust root is named").WithFix("give --trusted-root or set %s", TrustedRootVariable)
	}
	access, err := flags.registry.access(env)
	if err != nil {
		return err
	}
	key, err := receiver.ReadKey(firstOf(flags.keyFile, flags.db+".key"), rand.Reader)
	if err != nil {
		return err
	}
	var tokens []ingest.Token
	if flags.tokens != "" {
		if tokens, err = receiver.ReadTokens(flags.tokens); err != nil {
			return err
		}
	}
	service, err := ingest.Open(ingest.Config{
		DB: flags.db, Key: key, Tokens: tokens, Workers: flags.workers,
		Verifier: receiver.Verifier{Access: access, TrustedRootPath: trustedRoot},
		Now:      env.Now, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(env.Stderr, nil)),
	})
	if err != nil {
		return fault.Inputf("opening the ingest service: %w", err)
	}
	defer service.Close()
	listener, err := net.Listen("tcp", flags.listen)
	if err != nil {
		return fault.Inputf("listening: %w", err)
	}
	fmt.Fprintf(env.Stdout, "ingest API on http://%s\n", listener.Addr())
	return receiver.Serve(ctx, service, listener)
}
