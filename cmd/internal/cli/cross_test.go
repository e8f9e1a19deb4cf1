package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

func TestCrossFolder(t *testing.T) {
	dir := writeBuilt(t)
	code, out, stderr := run(t, testEnv(t), "verify", "--cross", "--json", dir)
	if code != ExitOK {
		t.Fatal(stderr)
	}
	rows := strings.Split(strings.TrimSpace(out), "\n")
	if len(rows) != len(arch.All())*len(builtFamilies()) {
		t.Errorf("%d rows:\n%s", len(rows), out)
	}
	for _, line := range rows {
		var row crossRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		m, err := manifest.Read(filepath.Join(dir, row.Arch))
		if err != nil {
			t.Fatal(err)
		}
		if row.RootDigest != m.ComposefsDigest || row.RootHash != m.RootHash || len(row.Evidence) == 0 {
			t.Errorf("%+v", row)
		}
	}
	code, out, stderr = run(t, testEnv(t), "verify", "--cross", filepath.Join(dir, "arm64"))
	if code != ExitOK || !strings.Contains(out, "arm64: one root in 6 families\n") || strings.Contains(out, "amd64") {
		t.Errorf("%d, %s%s", code, out, stderr)
	}
}

func TestCrossFolderRefuses(t *testing.T) {
	dir := writeBuilt(t)
	raw := filepath.Join(dir, "amd64/raw/minimal-amd64.img")
	data, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	write(t, raw, strings.Replace(string(data), "#!program", "#!PROGRAM", 1))
	expect := func(what string, code int, want string) {
		t.Helper()
		got, _, stderr := run(t, testEnv(t), "verify", "--cross", dir)
		if got != code || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s; want %q", what, got, stderr, want)
		}
	}
	expect("a changed byte", ExitBuild, "proving the root of raw for amd64")
	if err := os.RemoveAll(filepath.Dir(raw)); err != nil {
		t.Fatal(err)
	}
	expect("a missing family", ExitBuild, "build-manifest.json lists it")
	path := filepath.Join(dir, "amd64", manifest.FileName)
	m, err := manifest.Read(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("0", 64)
	m.ComposefsDigest = other
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(encoded))
	expect("another manifest", ExitBuild, "build-manifest.json has the root digest "+other)
	for _, a := range arch.Names() {
		if err := os.RemoveAll(filepath.Join(dir, a)); err != nil {
			t.Fatal(err)
		}
	}
	expect("no build", ExitInput, "name the folder that build wrote")
}

// publishBuilt publishes a build to a registry of its own.
func publishBuilt(t *testing.T, dir string) (*localstack.Stack, *publish.Publications) {
	t.Helper()
	s, err := localstack.Start(t.Context(), localstack.Config{Dir: filepath.Join(t.TempDir(), "stack")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	signer, err := publish.NewSigner(publish.SignerOptions{SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath, Token: s.IssueToken})
	if err != nil {
		t.Fatal(err)
	}
	pubs, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, publish.Options{Repository: s.Registry + "/acme/images", Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	return s, pubs
}

func policyFlags(s *localstack.Stack) []string {
	return []string{"--trusted-root", s.TrustedRootPath, "--identity-regexp", regexp.QuoteMeta(s.Identity), "--issuer-regexp", regexp.QuoteMeta(s.Issuer)}
}

func TestCrossRegistry(t *testing.T) {
	dir := writeBuilt(t)
	s, pubs := publishBuilt(t, dir)
	index := pubs.Repository + ":" + pubs.Index.Tag
	code, out, stderr := run(t, testEnv(t), append([]string{"verify", "--cross", index}, policyFlags(s)...)...)
	if code != ExitOK || strings.Count(out, "one root in 6 families") != 2 {
		t.Errorf("exit code %d: %s%s", code, out, stderr)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a single artifact": {append(policyFlags(s), pubs.Publications[0].OCIRef), ExitInput, "name the build's index"},
		"no policy":         {[]string{index}, ExitInput, "name who may sign"},
		"a stranger":        {append(policyFlags(s), "--identity-regexp", "somebody else", index), ExitRemote, "verifying"},
	} {
		code, _, stderr := run(t, testEnv(t), append([]string{"verify", "--cross"}, tc.args...)...)
		if code != tc.code || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: exit code %d, %s", name, code, stderr)
		}
	}
}

func TestRepositoryOf(t *testing.T) {
	for ref, want := range map[string]string{
		"registry.example.com/a/b":                 "registry.example.com/a/b",
		"registry.example.com/a/b:tag":             "registry.example.com/a/b",
		"registry.example.com:5000/a/b":            "registry.example.com:5000/a/b",
		"registry.example.com:5000/a/b@sha256:abc": "registry.example.com:5000/a/b",
		"localhost:5000/a/b:tag@sha256:abc":        "localhost:5000/a/b",
	} {
		if got := repositoryOf(ref); got != want {
			t.Errorf("%s: %s", ref, got)
		}
	}
}
