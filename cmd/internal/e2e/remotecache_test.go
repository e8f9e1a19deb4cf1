package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/publish/localstack"
)

// TestCacheInARegistry builds on one machine and gives its results to a registry,
// signed keylessly; another machine, which has neither packages nor contents,
// builds the same without running a stage. To one that believes somebody else,
// all of it is worth nothing.
func TestCacheInARegistry(t *testing.T) {
	first, cache := cacheWithDownloads(t)
	stack, err := localstack.Start(t.Context(), localstack.Config{Dir: filepath.Join(t.TempDir(), "stack")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stack.Close() })
	token, err := stack.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	definition, dir := definitionOf(t), t.TempDir()
	repository := stack.Registry + "/acme/cache"
	some := []string{"--arch", "amd64", "--variants", "raw,ipxe"}
	ran, _ := onlineBuild(t, definition, cache, filepath.Join(dir, "one"), append(some, "--cache-to", repository,
		"--cache-identity-token-file", tokenFile, "--cache-signing-config", stack.SigningConfigPath, "--cache-trusted-root", stack.TrustedRootPath)...)
	if !slices.Contains(ran, "amd64/raw") {
		t.Errorf("the first machine ran %q", ran)
	}
	compareBuilds(t, filepath.Join(first.dir, "amd64/raw"), filepath.Join(dir, "one/amd64/raw"))

	trust := func(identity string) []string {
		return append(slices.Clone(some), "--cache-from", repository, "--cache-trusted-root", stack.TrustedRootPath,
			"--cache-identity-regexp", identity, "--cache-issuer-regexp", regexp.QuoteMeta(stack.Issuer))
	}
	// The second machine has the index, which says what the plan is, and no package.
	bare := filepath.Join(dir, "bare")
	for _, part := range []string{"release", "resolved"} {
		if err := copyCache(filepath.Join(bare, part), filepath.Join(first.cache, part), false); err != nil {
			t.Fatal(err)
		}
	}
	ran, cached := onlineBuild(t, definition, bare, filepath.Join(dir, "two"), trust(regexp.QuoteMeta(stack.Identity))...)
	if want := []string{"amd64/ipxe", "amd64/manifest", "amd64/raw", "amd64/sbom"}; len(ran) > 0 || !slices.Equal(cached, want) {
		t.Errorf("the second machine ran %q, and took %q from the registry", ran, cached)
	}
	compareBuilds(t, filepath.Join(dir, "one"), filepath.Join(dir, "two"))

	_, other := cacheWithDownloads(t)
	ran, cached = onlineBuild(t, definition, other, filepath.Join(dir, "three"), trust(`https://stranger\.example\.org/.*`)...)
	if !slices.Contains(ran, "amd64/raw") || len(cached) > 0 {
		t.Errorf("what a stranger signed was taken: %q ran, %q were cached", ran, cached)
	}
	compareBuilds(t, filepath.Join(dir, "one"), filepath.Join(dir, "three"))
}

// onlineBuild is cachedBuild with a network.
func onlineBuild(t *testing.T, definition, cache, output string, flags ...string) (ran, cached []string) {
	t.Helper()
	return cachedBuild(t, definition, cache, output, append(flags, "--offline=false")...)
}

// The flags that don't go together are named.
func TestCacheFlags(t *testing.T) {
	definition := definitionOf(t)
	for want, flags := range map[string][]string{
		"leave --no-cache out": {"--no-cache", "--cache-from", "registry.example.com/cache"},
		"leave --offline":      {"--offline", "--cache-to", "registry.example.com/cache"},
		"identity pattern":     {"--cache-from", "registry.example.com/cache"},
		"no signing services":  {"--cache-to", "registry.example.com/cache"},
		"20GiB":                {"--cache-size", "much"},
	} {
		args := append([]string{"build", "--file", definition, "--output-dir", t.TempDir(), "--cache-dir", t.TempDir()}, flags...)
		out, err := host{Umask: 0o022, Dir: "/", Env: []string{"HOME=/nonexistent"}}.run(t.Context(), args...)
		if err != nil || out.Code != 2 || !strings.Contains(out.stderr, want) {
			t.Errorf("%q ended with %d, %v:\n%s", flags, out.Code, err, out.stderr)
		}
	}
}
