package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// TestOfflineFromLock locks the platform, and builds it for every architecture
// where there is no network, with a cache that has what is locked and neither an
// index nor anything that was made of packages. The artifacts are those of a build
// without a lock. Then a package is missing.
func TestOfflineFromLock(t *testing.T) {
	first, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	definition, cache, out := filepath.Join(dir, "definition"), filepath.Join(dir, "cache"), filepath.Join(dir, "out")
	if err := copyDefinition(definition, 3, 0); err != nil {
		t.Fatal(err)
	}
	if err := copyCache(cache, first.cache, true); err != nil {
		t.Fatal(err)
	}
	flags := []string{"--file", definition, "--cache-dir", cache, "--offline"}
	h := host{NoNetwork: true, Dir: dir, Env: []string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}}
	run := func(args ...string) outcome {
		t.Helper()
		got, err := h.run(t.Context(), slices.Concat(args, flags)...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := run("lock", "--fetch"); got.Code != cli.ExitOK {
		t.Fatalf("lock ended with %d:\n%s", got.Code, got.stderr)
	}
	for _, made := range []string{"release", "resolved"} {
		if err := os.RemoveAll(filepath.Join(cache, made)); err != nil {
			t.Fatal(err)
		}
	}
	got := run("build", "--locked", "--output-dir", out)
	if got.Code != cli.ExitOK {
		t.Fatalf("build ended with %d:\n%s", got.Code, got.stderr)
	}
	lock, err := builder.ReadLock(filepath.Join(definition, "platform.lock"))
	if err != nil {
		t.Fatal(err)
	}
	eachArch(t, func(t *testing.T, a artifacts) {
		m, err := manifest.Read(filepath.Join(out, a.arch.Name))
		if err != nil {
			t.Fatal(err)
		}
		if m.LockSHA256 != lock.SHA256() || a.manifest.LockSHA256 != "" || m.GitSHA != a.manifest.GitSHA {
			t.Errorf("lock %q, revision %s", m.LockSHA256, m.GitSHA)
		}
		if len(m.Artifacts) != len(a.manifest.Artifacts) {
			t.Errorf("%d files, and %d without a lock", len(m.Artifacts), len(a.manifest.Artifacts))
		}
		for path, f := range a.manifest.Artifacts {
			if m.Artifacts[path] != f {
				t.Errorf("%s is %+v, and %+v without a lock", path, m.Artifacts[path], f)
			}
		}
	})
	t.Run("missing package", func(t *testing.T) {
		missing := lock.Targets[0].Packages.Root[0]
		if err := os.Remove(filepath.Join(cache, "sha256", missing.SHA256[:2], missing.SHA256[2:])); err != nil {
			t.Fatal(err)
		}
		for _, made := range []string{"stages", "unpacked", "blobs"} {
			if err := os.RemoveAll(filepath.Join(cache, made)); err != nil {
				t.Fatal(err)
			}
		}
		got := run("build", "--locked", "--output-dir", out)
		wantFailure(t, got, cli.ExitInput, `"`+missing.Name+`"`, "it is not in the cache", "run bootsmith lock --fetch")
		if left, err := os.ReadDir(out); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }) {
			t.Errorf("the output folder holds %v, %v", left, err)
		}
	})
}
