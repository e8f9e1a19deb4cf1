package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/families"
	"github.com/powernode/bootsmith/fixtures"
	"github.com/powernode/bootsmith/publish"
)

// demoPlatform is the definition that the demo carries.
const demoPlatform = "minimal"

type demoFlags struct {
	state, mirror string
	keep          bool
}

func newDemo(env cli.Env) *cobra.Command {
	var flags demoFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Build, publish, sign, announce and verify a platform, all for real",
		Long: `Starts a registry, a keyless signing stack and an ingest server on loopback;
ships the embedded platform to them for every architecture; waits until the
ingest side has verified and promoted each artifact; verifies all of it again
with nothing but the trust root and the signer's name; and prints what there is.

Everything stays in the state folder. A second run downloads nothing.`,
		Example: "  bootsmith-lab demo\n  bootsmith-lab demo --keep",
		RunE: func(c *cobra.Command, _ []string) error {
			return runDemo(c.Context(), env, flags)
		},
	}
	f := c.Flags()
	f.StringVar(&flags.state, "state", ".state/demo", "folder for everything the demo makes")
	f.StringVar(&flags.mirror, "mirror", "", "base URL of the Debian archive (default: as for build)")
	f.BoolVar(&flags.keep, "keep", false, "leave the services running until Ctrl-C")
	return c
}

// verifyLimit is how long the ingest side may take for all artifacts.
const verifyLimit = 2 * time.Minute

func runDemo(ctx context.Context, env cli.Env, flags demoFlags) (err error) {
	if flags.state, err = filepath.Abs(flags.state); err != nil {
		return err
	}
	definition := filepath.Join(flags.state, "platform")
	if err := extract(definition); err != nil {
		return fault.Buildf("writing the embedded platform: %w", err)
	}
	lab, err := startLab(ctx, env, flags.state)
	if err != nil {
		return fault.Default(fault.Remote, err)
	}
	defer func() {
		if cerr := lab.close(); err == nil {
			err = cerr
		}
	}()

	output := filepath.Join(flags.state, "build")
	run := lab.commandLine(env)
	ship := []string{
		"ship", "--file", definition, "--output-dir", output, "--cache-dir", filepath.Join(flags.state, "cache"),
		"--repository", lab.stack.Registry + "/acme/disk-images", "--webhook-url", lab.webhookURL,
		"--signing-config", lab.stack.SigningConfigPath, "--trusted-root", lab.stack.TrustedRootPath,
	}
	if flags.mirror != "" {
		ship = append(ship, "--mirror", flags.mirror)
	}
	if err := run(ctx, ship); err != nil {
		return err
	}
	pubs, err := publish.ReadPublications(output)
	if err != nil {
		return err
	}
	rows, err := lab.awaitPublished(ctx, pubs, verifyLimit)
	if err != nil {
		return fault.Default(fault.Callback, err)
	}
	if err := run(ctx, lab.verifyArgs(output)); err != nil {
		return err
	}
	if err := measure(rows, output); err != nil {
		return err
	}
	if err := printTable(env.Stdout, rows); err != nil {
		return err
	}
	if err := checkAll(rows); err != nil {
		return err
	}
	printBoot(env, flags.state)
	if flags.keep {
		lab.printAddresses(env, pubs)
		<-ctx.Done()
	}
	return nil
}

// extract writes the embedded platform to dir, which it replaces.
func extract(dir string) error {
	sub, err := fixtures.Platform(demoPlatform)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	return os.CopyFS(dir, sub)
}

// checkAll fails unless each family of each architecture is published, with
// one root digest per architecture.
func checkAll(rows []row) error {
	want := len(families.Default()) * len(arch.All())
	roots := map[string]string{}
	published := 0
	for _, r := range rows {
		if r.Status == "published" {
			published++
		}
		if root := roots[r.Arch]; root != "" && root != r.ComposefsDigest {
			return fault.Buildf("comparing root digests of %s: %s and %s differ", r.Arch, root, r.ComposefsDigest)
		}
		roots[r.Arch] = r.ComposefsDigest
	}
	if published != want {
		return fault.Buildf("counting publications: %d of %d are published", published, want)
	}
	return nil
}

func printBoot(env cli.Env, state string) {
	fmt.Fprintln(env.Stdout, "\nBoot one (Ctrl-A X ends the machine):")
	for _, a := range arch.All() {
		fmt.Fprintf(env.Stdout, "  bin/bootsmith run raw --arch %s --output-dir %s\n", a.Name, filepath.Join(state, "build"))
	}
}
