package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// stopAfter cancels when a text has been written.
type stopAfter struct {
	bytes.Buffer
	text   string
	cancel func()
}

func (s *stopAfter) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	if strings.Contains(s.String(), s.text) {
		s.cancel()
	}
	return n, err
}

func serve(t *testing.T, until string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, log := &stopAfter{text: until, cancel: cancel}, &bytes.Buffer{}
	env := cli.Env{Stdin: strings.NewReader(""), Stdout: out, Stderr: log, Getenv: func(string) string { return "" }, Now: time.Now}
	code = cli.Execute(ctx, env, newRoot(env), append([]string{"sigstore", "serve"}, args...))
	return code, out.String(), log.String()
}

func TestServe(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	code, out, stderr := serve(t, "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "--state", state)
	if code != cli.ExitOK || !strings.Contains(out, "registry") || stderr != "" {
		t.Errorf("exit code %d: %s%s", code, out, stderr)
	}
	trusted, err := os.ReadFile(filepath.Join(state, "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	// The same state becomes a private instance, with the same trust root.
	code, out, stderr = serve(t, "trusted root", "--state", state, "--listen", "0.0.0.0:0", "--public-url", "https://sigstore.example.org",
		"--oidc-issuer", "https://git.example.org/api/actions")
	if code != cli.ExitOK || strings.Contains(out, "registry") || strings.Contains(out, "TOKEN") || !strings.Contains(stderr, "local stack on") {
		t.Errorf("exit code %d: %s%s", code, out, stderr)
	}
	if again, err := os.ReadFile(filepath.Join(state, "trusted_root.json")); err != nil || !bytes.Equal(again, trusted) {
		t.Errorf("the trust root changed (%v)", err)
	}
	for want, args := range map[string][]string{
		"loopback addresses only":  {"--listen", "0.0.0.0:0"},
		"certifies whoever asks":   {"--public-url", "https://sigstore.example.org"},
		`kind "subject" is unknow`: {"--oidc-issuer", "https://git.example.org", "--oidc-kind", "subject"},
		"no https URL":             {"--oidc-issuer", "http://git.example.org"},
		"is not a URL":             {"--public-url", "sigstore", "--oidc-issuer", "https://git.example.org"},
	} {
		code, _, stderr := serve(t, "never", append(args, "--state", filepath.Join(t.TempDir(), "state"))...)
		if code != cli.ExitInput || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d: %s", args, code, stderr)
		}
	}
}
