package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
)

// stageFlags say how the results of stages are cached.
type stageFlags struct {
	none bool
	size string
}

func (s *stageFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&s.none, "no-cache", false, "run every stage, and keep no results; downloads and file contents are cached all the same")
	f.StringVar(&s.size, "cache-size", "", "after the build, prune the cache to this size, such as 20GiB (default: any size)")
}

// open gives a configuration its cache, which the returned function closes and
// prunes.
func (s stageFlags) open(ctx context.Context, env Env, folder string, c *builder.Config) (func() error, error) {
	limits, err := parseLimits(s.size, "--cache-size")
	if err != nil {
		return nil, err
	}
	dir, err := cacheDir(env, folder)
	if err != nil {
		return nil, err
	}
	opened, err := cache.Open(ctx, dir, env.Now)
	if err != nil {
		return nil, err
	}
	if !s.none {
		c.Cache = opened
		if c.Program, err = programDigest(); err != nil {
			return nil, errors.Join(err, opened.Close())
		}
	}
	return func() error {
		if err := opened.Close(); err != nil || s.size == "" {
			return err
		}
		_, err := cache.Prune(ctx, dir, limits, env.Now(), cache.Mode{})
		if errors.Is(err, cache.ErrInUse) {
			return nil // the other build prunes when it ends
		}
		return err
	}, nil
}

// parseLimits reads what a cache may hold; flag is the name of the size's flag.
func parseLimits(size, flag string) (cache.Limits, error) {
	limits := cache.NoLimits()
	if size == "" {
		return limits, nil
	}
	var err error
	if limits.Size, err = spec.ParseSize(size); err != nil {
		return limits, fault.Inputf("reading %s %q: not a size", flag, size).WithFix("give a whole number of MiB, GiB or TiB, such as 20GiB")
	}
	return limits, nil
}

// programDigest identifies this program: the results of one may differ from
// those of another version.
func programDigest() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("reading this program: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("reading this program: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
