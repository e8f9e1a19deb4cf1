package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/fault"
)

func newValidate(env Env) *cobra.Command {
	var flags planFlags
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check a definition, as far as that needs no network",
		Long: `Reads the definition and checks its fields, that its families can be built, that
files, folders, scripts, archives, keyrings and certificates that it names are
there and can be read, and whether platform.lock fits. A lock that doesn't is told,
and with --locked an error.`,
		Example: "  bootsmith validate\n  bootsmith validate --locked --file platforms/minimal",
		RunE: func(c *cobra.Command, _ []string) error {
			return fault.Default(fault.Build, runValidate(c.Context(), env, flags))
		},
	}
	flags.register(c)
	return c
}

func runValidate(ctx context.Context, env Env, flags planFlags) (err error) {
	file, config, err := flags.open(env)
	if err != nil {
		return err
	}
	closeCache, err := stageFlags{none: true}.open(ctx, env, flags.inputFlags, &config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeCache()) }()
	if config.SecureBoot, err = newSecureBoot(env, flags.secureBoot, file); err != nil {
		return err
	}
	request := builder.Request{File: file, Architectures: flags.arches, Families: flags.families}
	if err := builder.Validate(ctx, config, request); err != nil {
		return err
	}
	if request.Lock, err = readLock(file, flags.locked); err != nil {
		return err
	}
	locked := "not locked"
	if request.Lock != nil {
		locked = "the lock fits"
		if err := builder.CheckLock(ctx, config, request); err != nil {
			var drift *builder.Drift
			if flags.locked || !errors.As(err, &drift) {
				return err
			}
			locked = drift.Error()
		}
	}
	rows, err := builder.Matrix(request)
	if err != nil {
		return err
	}
	artifacts := 0
	for _, r := range rows {
		artifacts += len(r.Families)
	}
	_, err = fmt.Fprintf(env.Stdout, "%s: OK: %s, %d artifacts for %d architectures, %s\n", file.Path, file.Name, artifacts, len(rows), locked)
	return err
}
