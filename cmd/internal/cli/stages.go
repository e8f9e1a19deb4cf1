package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/publish"
)

// stageFlags say how the results of stages are cached.
type stageFlags struct {
	none bool
	size string

	from, to                                   string
	identity, issuer, publicKey                string
	key, tokenFile, signingConfig, trustedRoot string
}

func (s *stageFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&s.none, "no-cache", false, "run every stage, and keep no results; downloads and file contents are cached all the same")
	f.StringVar(&s.size, "cache-size", "", "after the build, prune the cache to this size, such as 20GiB (default: any size)")
}

func (s *stageFlags) registerRemotes(f *pflag.FlagSet) {
	f.StringVar(&s.from, "cache-from", "", "repository of a registry with results of stages, signed; what can't be believed is built")
	f.StringVar(&s.to, "cache-to", "", "repository that is given the results of stages, signed")
	f.StringVar(&s.identity, "cache-identity-regexp", "", "with --cache-from: who may sign results, a pattern for the certificate's subject")
	f.StringVar(&s.issuer, "cache-issuer-regexp", "", "with --cache-from: pattern for the issuer of the signer's identity token")
	f.StringVar(&s.publicKey, "cache-public-key", "", "with --cache-from: public key (PEM) of who signs results with a key, instead of the patterns")
	f.StringVar(&s.key, "cache-key", "", "with --cache-to: sign with this private key (PEM, P-256) instead of an identity")
	f.StringVar(&s.tokenFile, "cache-identity-token-file", "", "with --cache-to: file with the identity token (default: the sources of publish)")
	f.StringVar(&s.signingConfig, "cache-signing-config", "", "with --cache-to: Sigstore signing_config.json (default: "+SigningConfigVariable+")")
	f.StringVar(&s.trustedRoot, "cache-trusted-root", "", "Sigstore trusted_root.json for results of stages (default: "+TrustedRootVariable+")")
}

// open gives a configuration its cache, which the returned function closes and
// prunes.
func (s stageFlags) open(ctx context.Context, env Env, in inputFlags, c *builder.Config) (func() error, error) {
	limits, err := parseLimits(s.size, "--cache-size")
	if err != nil {
		return nil, err
	}
	dir, err := cacheDir(env, in.cache)
	if err != nil {
		return nil, err
	}
	if err := s.addRemotes(env, in, c); err != nil {
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

// addRemotes gives a configuration the repositories to take results from and to
// give them to.
func (s stageFlags) addRemotes(env Env, in inputFlags, c *builder.Config) error {
	if err := s.checkUnused(); err != nil {
		return err
	}
	if (s.from != "" || s.to != "") && s.none {
		return fault.Inputf("reading --no-cache: another place for results is named").WithFix("leave --no-cache out")
	}
	if (s.from != "" || s.to != "") && in.offline {
		return fault.Inputf("reading --offline: a registry for results is named").WithFix("leave --offline, or --cache-from and --cache-to, out")
	}
	from, to := strings.TrimSuffix(s.from, "/"), strings.TrimSuffix(s.to, "/")
	if s.from != "" {
		if err := publish.CheckRepository(from); err != nil {
			return fmt.Errorf("preparing --cache-from: %w", err)
		}
		access, err := in.registry.access(env, s.from)
		if err != nil {
			return err
		}
		policy, err := newPolicy(env, verifyFlags{identity: s.identity, issuer: s.issuer, key: s.publicKey, trustedRoot: s.trustedRoot})
		if err != nil {
			return fmt.Errorf("preparing --cache-from: %w", err)
		}
		c.CacheFrom = publish.StageCache{Repository: from, Access: access, Policy: policy}
	}
	if s.to != "" {
		if err := publish.CheckRepository(to); err != nil {
			return fmt.Errorf("preparing --cache-to: %w", err)
		}
		access, err := in.registry.access(env, s.to)
		if err != nil {
			return err
		}
		signer, err := newSigner(env, publishFlags{key: s.key, tokenFile: s.tokenFile, signingConfig: s.signingConfig, trustedRoot: s.trustedRoot})
		if err != nil {
			return fmt.Errorf("preparing --cache-to: %w", err)
		}
		c.CacheTo = publish.StageCache{Repository: to, Access: access, Signer: signer}
	}
	return nil
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

// checkUnused refuses flags that say nothing without another one.
func (s stageFlags) checkUnused() error {
	for _, f := range []struct{ value, name, of, with string }{
		{s.identity, "--cache-identity-regexp", s.from, "--cache-from"},
		{s.issuer, "--cache-issuer-regexp", s.from, "--cache-from"},
		{s.publicKey, "--cache-public-key", s.from, "--cache-from"},
		{s.key, "--cache-key", s.to, "--cache-to"},
		{s.tokenFile, "--cache-identity-token-file", s.to, "--cache-to"},
		{s.signingConfig, "--cache-signing-config", s.to, "--cache-to"},
	} {
		if f.value != "" && f.of == "" {
			return fault.Inputf("reading %s: it is for %s", f.name, f.with).WithFix("give %s, or leave %s out", f.with, f.name)
		}
	}
	return nil
}
