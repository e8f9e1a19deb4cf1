package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/manifest"
)

// buildLimit is many times what a build takes on an idle machine, without the
// downloads.
const buildLimit = 10 * time.Minute

// finished is a build of the platform for every architecture.
type finished struct {
	dir    string // holds <arch>/
	cache  string
	maxRSS int64 // bytes
}

// warm is a build as a user runs it: with the user's cache, and the network if
// that lacks something. Its other surroundings are the first of two that
// TestReproducible compares.
var warm = sync.OnceValues(func() (finished, error) {
	dir, err := workspace()
	if err != nil {
		return finished{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return finished{}, err
	}
	definition := filepath.Join(dir, "definition")
	if err := copyDefinition(definition, 1, 0); err != nil {
		return finished{}, err
	}
	h := host{
		Umask: 0o022, Dir: definition,
		Env: append(network(), "HOME="+dir, "TZ=UTC", "LC_ALL=C", "GOMAXPROCS=1"),
	}
	return build(h, finished{dir: filepath.Join(dir, "warm"), cache: filepath.Join(cache, "bootsmith")}, "--jobs", "1")
})

// cold is a build that has the downloads and nothing else, in surroundings of
// its own in every respect that costs no time.
var cold = sync.OnceValues(func() (finished, error) {
	first, err := warm()
	if err != nil {
		return finished{}, err
	}
	dir := filepath.Dir(first.dir)
	f := finished{dir: filepath.Join(dir, "cold/out put"), cache: filepath.Join(dir, "cold/cache")}
	if err := copyCache(f.cache, first.cache, true); err != nil {
		return f, err
	}
	definition := filepath.Join(dir, "cold/elsewhere")
	if err := copyDefinition(definition, 2, 0o077); err != nil {
		return f, err
	}
	h := host{
		Umask: 0o077, Dir: filepath.Dir(dir),
		Env: append(network(), "HOME=/nonexistent", "TZ=Asia/Kathmandu", "LC_ALL=tr_TR.UTF-8", "LANGUAGE=tr"),
	}
	return build(h, f, "--offline", "--file", definition)
})

// build runs the program, every stage of it, and fills in what it took.
func build(h host, f finished, flags ...string) (finished, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
	defer cancel()
	args := append([]string{"build", "--output-dir", f.dir, "--cache-dir", f.cache, "--no-cache"}, flags...)
	out, err := h.run(ctx, args...)
	f.maxRSS = out.MaxRSS
	if err == nil && out.Code != 0 {
		err = fmt.Errorf("bootsmith %q ended with %d:\n%s", args, out.Code, out.stderr)
	}
	return f, err
}

// network returns the variables that say how packages are reached.
func network() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains([]string{"BOOTSMITH_DEBIAN_MIRROR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PATH", "SSL_CERT_FILE"}, strings.ToUpper(name)) {
			env = append(env, v)
		}
	}
	return env
}

// artifacts is what a build made for one architecture.
type artifacts struct {
	dir      string
	arch     arch.Arch
	manifest *manifest.Manifest
}

// eachArch runs a test on the artifacts of every architecture.
func eachArch(t *testing.T, test func(t *testing.T, a artifacts)) {
	t.Helper()
	f, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range arch.All() {
		t.Run(row.Name, func(t *testing.T) {
			dir := filepath.Join(f.dir, row.Name)
			m, err := manifest.Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			test(t, artifacts{dir: dir, arch: row, manifest: m})
		})
	}
}

// path returns where a file of a family lies.
func (a artifacts) path(name string) string { return filepath.Join(a.dir, filepath.FromSlash(name)) }

// main returns where the file lies that stands for a family.
func (a artifacts) main(t *testing.T, family string) string {
	t.Helper()
	for _, f := range a.manifest.Families {
		if f.Name == family {
			return a.path(f.Main)
		}
	}
	t.Fatalf("the manifest has no family %s", family)
	return ""
}
