package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// resolverVersion is part of the key of cached resolutions: raise it when the
// resolver's choices change.
const resolverVersion = 2

// maxResolution bounds a cached resolution, in bytes.
const maxResolution = 64 << 20

// Resolve returns the packages of these names and all that they depend on.
func (a *Archive) Resolve(ctx context.Context, names []string) (Resolution, error) {
	return a.one(ctx, Request{Names: names})
}

// ResolveOnly returns the packages of these names and, of what they depend on,
// packages whose name starts with prefix.
func (a *Archive) ResolveOnly(ctx context.Context, names []string, prefix string) (Resolution, error) {
	return a.one(ctx, Request{Names: names, Follow: Follow{Prefix: prefix}})
}

// ResolveExact returns the packages of these names, without what they depend on.
func (a *Archive) ResolveExact(ctx context.Context, names []string) (Resolution, error) {
	return a.one(ctx, Request{Names: names, Follow: Follow{None: true}})
}

func (a *Archive) one(ctx context.Context, req Request) (Resolution, error) {
	all, err := a.ResolveEach(ctx, []Request{req})
	if err != nil {
		return Resolution{}, err
	}
	return all[0], nil
}

// ResolveEach answers several requests, each by itself, with the releases read
// and the indices loaded only once. Answers are cached by the indices' digests,
// so that an unchanged archive costs a look at its release.
//
// A suite, package, architecture or component that isn't there, a dependency
// that can't be met, a conflict, and a release that isn't signed by the keyring
// or out of date are errors of class fault.Input; a missing default keyring is
// one of class fault.Tool.
func (a *Archive) ResolveEach(ctx context.Context, requests []Request) ([]Resolution, error) {
	suites, err := a.suites(ctx)
	if err != nil {
		return nil, err
	}
	var ix *index
	answers := make([]Resolution, len(requests))
	for i, req := range requests {
		key := a.resolutionKey(suites, req)
		packages, ok := a.cachedResolution(key)
		if !ok {
			if ix == nil {
				if ix, err = loadIndex(ctx, suites); err != nil {
					return nil, err
				}
			}
			if packages, err = a.resolve(ix, describe(suites), req); err != nil {
				return nil, err
			}
			if err := a.keepResolution(key, packages); err != nil {
				return nil, err
			}
		}
		answers[i] = Resolution{
			Suite: a.Suite, Arch: a.Arch.Name,
			ReleaseDate: suites[0].release.date, ReleaseSHA256: suites[0].release.sha256,
			Repositories: releases(suites), Packages: packages,
		}
	}
	return answers, nil
}

// resolutionKey identifies an answer: everything that it depends on.
func (a *Archive) resolutionKey(suites []suite, req Request) string {
	h := sha256.New()
	fmt.Fprintf(h, "resolver %d\narchitecture %s\n", resolverVersion, a.Arch.Name)
	for n, s := range suites {
		for _, f := range s.files {
			fmt.Fprintf(h, "index %d %s\n", n, f.sha256)
		}
	}
	fmt.Fprintf(h, "none %t\nprefix %q\n", req.Follow.None, req.Follow.Prefix)
	fmt.Fprintf(h, "essential %t\npriorities %q\n", req.Essential, req.Priorities)
	for _, n := range req.Names {
		fmt.Fprintf(h, "name %q\n", n)
	}
	for _, p := range req.Keep {
		fmt.Fprintf(h, "keep %q %s\n", p.Name, p.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// storedResolution is the cache's file: SHA256 is that of Packages as JSON and
// guards against damage.
type storedResolution struct {
	Key      string          `json:"key"`
	SHA256   string          `json:"sha256"`
	Packages json.RawMessage `json:"packages"`
}

func (a *Archive) resolutionFile(key string) string {
	return filepath.Join(a.CacheDir, "resolved", key+".json")
}

// cachedResolution returns a cached answer; a damaged one counts as missing.
func (a *Archive) cachedResolution(key string) ([]Package, bool) {
	data, err := readBounded(a.resolutionFile(key), maxResolution)
	if err != nil {
		return nil, false
	}
	var st storedResolution
	if json.Unmarshal(data, &st) != nil || st.Key != key {
		return nil, false
	}
	if sum := sha256.Sum256(st.Packages); hex.EncodeToString(sum[:]) != st.SHA256 {
		return nil, false
	}
	var packages []Package
	if json.Unmarshal(st.Packages, &packages) != nil {
		return nil, false
	}
	return packages, true
}

func (a *Archive) keepResolution(key string, packages []Package) error {
	raw, err := json.Marshal(packages)
	if err != nil {
		return fmt.Errorf("caching a resolution: %w", err)
	}
	sum := sha256.Sum256(raw)
	data, err := json.Marshal(storedResolution{key, hex.EncodeToString(sum[:]), raw})
	if err == nil {
		err = writeFile(a.resolutionFile(key), data)
	}
	if err != nil {
		return fmt.Errorf("caching a resolution: %w", err)
	}
	return nil
}
