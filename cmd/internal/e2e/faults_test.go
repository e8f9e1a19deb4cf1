package e2e_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// bootsmith runs a command line in process, in an environment of its own.
func bootsmith(ctx context.Context, variables map[string]string, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	code := cli.Run(ctx, cli.Env{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
		Getenv: func(name string) string { return variables[name] }, Now: time.Now, HostRoot: "/",
	}, args)
	return outcome{Code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// progressLine is a line that tells how far a command is.
var progressLine = regexp.MustCompile(`^(amd64|arm64|publish)/[a-z0-9-]+ +(\d+\.\d\ds|failed\n|\d+\.\d of \d+\.\d MiB|\S+ )|^notify +`)

// wantFailure checks that a command ended with the code and one line that says
// all of the words, beside its progress.
func wantFailure(t *testing.T, got outcome, code int, words ...string) {
	t.Helper()
	if got.Code != code {
		t.Errorf("exit code %d, want %d", got.Code, code)
	}
	var said []string
	for line := range strings.Lines(got.stderr) {
		if !progressLine.MatchString(line) {
			said = append(said, line)
		}
	}
	if len(said) != 1 || !strings.HasPrefix(said[0], "bootsmith: ") || !strings.HasSuffix(said[0], "\n") {
		t.Errorf("it doesn't end with one line:\n%s", got.stderr)
	}
	for _, w := range words {
		if !strings.Contains(strings.Join(said, ""), w) {
			t.Errorf("the error doesn't say %q:\n%s", w, got.stderr)
		}
	}
	t.Log(strings.Join(said, ""))
}

// outputWithBuild is an output folder with an earlier build in it, which
// failures must leave alone, and the check that they did.
func outputWithBuild(t *testing.T) (dir string, check func()) {
	t.Helper()
	dir = t.TempDir()
	old := filepath.Join(dir, "amd64/raw/old.img")
	if err := os.MkdirAll(filepath.Dir(old), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{old, filepath.Join(dir, "amd64/build-manifest.json")} {
		if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, func() {
		t.Helper()
		left, err := listFiles(dir)
		if err != nil || !slices.Equal(left, []string{"amd64", "amd64/build-manifest.json", "amd64/raw", "amd64/raw/old.img"}) {
			t.Errorf("the output folder holds %q, %v", left, err)
		}
		if data := readFile(t, old); string(data) != "old" {
			t.Errorf("the earlier build now holds %q", data)
		}
	}
}

// TestBadInput builds from definitions and archives with one thing wrong each.
func TestBadInput(t *testing.T) {
	for name, x := range map[string]struct {
		set   func(*testing.T, *apttest.Repo, *platform)
		code  int
		words []string
	}{
		"unknown field": {func(_ *testing.T, _ *apttest.Repo, p *platform) { p.more = "disks: {size: 1GiB}\n" },
			cli.ExitInput, []string{"platform.yaml:7: disks: unknown field", `did you mean "disk"?`}},
		"unknown suite": {func(_ *testing.T, _ *apttest.Repo, p *platform) { p.suite = "nosuch" },
			cli.ExitInput, []string{`"nosuch"`, "platform.yaml", "suite"}},
		"package not found": {func(_ *testing.T, _ *apttest.Repo, p *platform) { p.include = "aap" },
			cli.ExitInput, []string{`"aap"`, "platform.yaml"}},
		"dependency not found": {func(_ *testing.T, r *apttest.Repo, p *platform) {
			r.Add(apttest.Deb{Name: "needy", Fields: []string{"Depends: nowhere (>= 2)"}})
			r.Publish()
			p.include = "needy"
		}, cli.ExitInput, []string{"needy", "nowhere (>= 2)", "platform.yaml"}},
		"wrong keyring": {func(t *testing.T, _ *apttest.Repo, p *platform) {
			p.keyring = keyringOf(t, apttest.Keyring(apttest.NewKey(), true))
		}, cli.ExitInput, []string{"signed by key", "archive.gpg", "set root.packages.keyring"}},
		"no keyring": {func(_ *testing.T, _ *apttest.Repo, p *platform) { p.keyring = "missing.gpg" },
			cli.ExitInput, []string{"missing.gpg", "no such file"}},
		"flipped byte in the release": {func(_ *testing.T, r *apttest.Repo, _ *platform) {
			const path = "dists/test/InRelease"
			r.SetFile(path, bytes.Replace(r.File(path), []byte("Origin: Test"), []byte("Origin: Tesu"), 1))
		}, cli.ExitInput, []string{"no valid signature", "/archive"}},
		"flipped byte in the index": {func(_ *testing.T, r *apttest.Repo, _ *platform) { r.MapIndex = flip; r.Publish() },
			cli.ExitBuild, []string{"Packages", "SHA-256"}},
		"flipped byte in a package": {func(_ *testing.T, r *apttest.Repo, _ *platform) {
			const path = "pool/main/app/app_1.0_amd64.deb"
			r.SetFile(path, flip(r.File(path)))
		}, cli.ExitBuild, []string{`"app"`, "SHA-256"}},
		"package gone": {func(_ *testing.T, r *apttest.Repo, _ *platform) {
			r.Fail = func(path string) *http.Response { return notFound(path, "pool/") }
		}, cli.ExitBuild, []string{"fetching package", "404", "choose another mirror"}},
		"no kernel": {func(*testing.T, *apttest.Repo, *platform) {},
			cli.ExitInput, []string{"finding the kernel", "name a kernel package in the definition"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, _ := newRepo()
			p := newPlatform(t, repo, serve(t, mirror{repo: repo}))
			x.set(t, repo, &p)
			output, check := outputWithBuild(t)
			got := bootsmith(t.Context(), nil, "build", "--file", p.write(t), "--output-dir", output, "--cache-dir", t.TempDir())
			wantFailure(t, got, x.code, x.words...)
			check()
		})
	}
}
