package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/compare"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
)

// lockFlags are the flags of lock.
type lockFlags struct {
	inputFlags
	update, allowDowngrade, fetch bool
}

func newLock(env Env) *cobra.Command {
	var flags lockFlags
	c := &cobra.Command{
		Use:   "lock [--update [PACKAGE…]]",
		Short: "Write platform.lock: the packages and digests that builds take",
		Long: `Writes platform.lock beside the definition: for every architecture the packages
with version, size and SHA-256, the archive's release, and the digests of other
sources. Builds take what it says as long as it fits the definition; with
--locked, they fail when it doesn't.

A lock that exists is changed as little as the definition asks for. --update looks
everything up again; with names, only these packages and what they then need
move, and the rest stays as long as the archive has it.

What moved is printed: + for added, - for removed, ~ for changed.`,
		Example: `  bootsmith lock
  bootsmith lock --update
  bootsmith lock --update openssh-server libssl3t64
  bootsmith lock --fetch && bootsmith build --locked --offline`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && !flags.update {
				return fault.Inputf("locking %q: packages are named with --update", args).WithFix("see bootsmith lock --help")
			}
			return fault.Default(fault.Build, runLock(c.Context(), env, flags, args))
		},
	}
	flags.register(c)
	f := c.Flags()
	f.BoolVar(&flags.update, "update", false, "look everything up again, or only the packages named")
	f.BoolVar(&flags.allowDowngrade, "allow-downgrade", false, "accept an archive that is older than the lock")
	f.BoolVar(&flags.fetch, "fetch", false, "download everything that is locked, so that builds can be offline")
	return c
}

func runLock(ctx context.Context, env Env, flags lockFlags, names []string) (err error) {
	file, config, err := flags.open(env)
	if err != nil {
		return err
	}
	closeCache, err := stageFlags{none: true}.open(ctx, env, flags.inputFlags, &config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeCache()) }()
	path := builder.LockPath(file)
	old, err := builder.ReadLock(path)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = nil, nil
	}
	if err != nil {
		return err
	}
	lock, err := builder.NewLock(ctx, config, file, old, builder.Update{
		All: flags.update && len(names) == 0, Names: names, AllowDowngrade: flags.allowDowngrade,
	})
	if err != nil {
		return err
	}
	if err := lock.Write(path); err != nil {
		return err
	}
	if err := printLocked(env, path, old, lock); err != nil || !flags.fetch {
		return err
	}
	return builder.FetchLocked(ctx, config, file, lock)
}

// printLocked prints what a new lock holds, or how it differs from the old one.
func printLocked(env Env, path string, old, now *builder.Lock) error {
	if old == nil {
		for _, t := range now.Targets {
			if _, err := fmt.Fprintf(env.Stdout, "%s: %s\n", t.Arch, lockedText(t)); err != nil {
				return err
			}
		}
		return nil
	}
	return compare.Diff(compare.Lock("the old lock", old), compare.Lock("the new lock", now)).WriteText(env.Stdout)
}

// lockedText describes a target of a lock.
func lockedText(t builder.LockedTarget) string {
	var text string
	if p := t.Packages; p.Suite != "" {
		text = fmt.Sprintf("%d packages of %s, released %s", len(p.All()), p.Suite, p.ReleaseDate.UTC().Format("2006-01-02 15:04:05Z"))
	}
	if t.Root == nil {
		return text
	}
	root := fmt.Sprintf("root from %s %s", t.Root.Source, t.Root.Digest)
	if text == "" {
		return root
	}
	return root + ", " + text
}

// readLock returns the definition's lock. One that isn't there is nil, or an
// error when the build has to be locked.
func readLock(file *spec.File, locked bool) (*builder.Lock, error) {
	lock, err := builder.ReadLock(builder.LockPath(file))
	if !locked && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return lock, err
}
