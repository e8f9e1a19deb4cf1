package e2e_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/powernode/bootsmith/callback"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// closedPort returns a loopback address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestRegistryDown(t *testing.T) {
	t.Parallel()
	l := startLab(t, "")
	dir, registry := smallBuild(t, labPlatform), closedPort(t)
	before, err := listFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("publish", func(t *testing.T) {
		got := bootsmith(t.Context(), l.variables(labSecret), "publish", "--output-dir", dir, "--repository", registry+"/acme/images")
		wantFailure(t, got, cli.ExitRemote, registry, "connection refused")
		after, err := listFiles(dir)
		if err != nil || len(after) != len(before) {
			t.Errorf("publish left %q of %q, %v", after, before, err)
		}
	})
	t.Run("verify", func(t *testing.T) {
		ref := registry + "/acme/images/small@sha256:0000000000000000000000000000000000000000000000000000000000000000"
		got := bootsmith(t.Context(), l.variables(labSecret), "verify", ref, "--identity-regexp", "https://ci/x", "--issuer-regexp", "https://ci")
		wantFailure(t, got, cli.ExitRemote, registry, "connection refused")
	})
}

// TestWrongSecret has the platform refuse an event whose signature is wrong.
// The event stays in the outbox, and the right secret delivers it.
func TestWrongSecret(t *testing.T) {
	t.Parallel()
	l := startLab(t, "")
	dir := l.published(t)
	const wrong = callback.Secret("fedcba9876543210fedcba9876543210")
	got := bootsmith(t.Context(), l.variables(wrong), "notify", "--output-dir", dir)
	wantFailure(t, got, cli.ExitCallback, "amd64 ipxe", "bad_signature")
	if held, err := os.ReadDir(filepath.Join(dir, "outbox")); err != nil || len(held) != 1 {
		t.Errorf("the outbox holds %v, %v", held, err)
	}
	got = bootsmith(t.Context(), l.variables(wrong), "notify", "--output-dir", dir)
	wantFailure(t, got, cli.ExitCallback, "bad_signature")

	got = bootsmith(t.Context(), l.variables(labSecret), "notify", "--output-dir", dir)
	if got.Code != cli.ExitOK {
		t.Fatalf("notify ended with %d:\n%s", got.Code, got.stderr)
	}
	if p := l.publication(t); p.Status != "published" || !p.Current {
		t.Errorf("the publication is %s %s: %s", p.Status, p.PublicationStatus, p.PublicationError)
	}
}

// TestPlatformDown leaves the event in the outbox.
func TestPlatformDown(t *testing.T) {
	t.Parallel()
	l := startLab(t, "")
	dir := l.published(t)
	variables := l.variables(labSecret)
	platform := closedPort(t)
	variables[cli.WebhookURLVariable] = "http://" + platform + "/hook"
	got := bootsmith(t.Context(), variables, "notify", "--output-dir", dir)
	wantFailure(t, got, cli.ExitCallback, "amd64 ipxe", "connection refused")
	if held, err := os.ReadDir(filepath.Join(dir, "outbox")); err != nil || len(held) != 1 {
		t.Errorf("the outbox holds %v, %v", held, err)
	}
}

// TestWrongIdentity verifies with a pattern that the signer doesn't match, and
// has the platform do so.
func TestWrongIdentity(t *testing.T) {
	t.Parallel()
	const stranger = `https://gitea\.example\.org/acme/images/\.gitea/workflows/build\.yml@refs/heads/other`
	l := startLab(t, stranger)
	dir := l.published(t)
	verify := func(identity, issuer string) outcome {
		return bootsmith(t.Context(), l.variables(labSecret), "verify", "--output-dir", dir, "--identity-regexp", identity, "--issuer-regexp", issuer)
	}
	identity, issuer := regexp.QuoteMeta(l.stack.Identity), regexp.QuoteMeta(l.stack.Issuer)
	if got := verify(identity, issuer); got.Code != cli.ExitOK {
		t.Fatalf("verify ended with %d:\n%s", got.Code, got.stderr)
	}
	wantFailure(t, verify(stranger, issuer), cli.ExitRemote, l.stack.Identity, stranger)
	wantFailure(t, verify(identity, `https://elsewhere\.example\.org`), cli.ExitRemote, l.stack.Issuer, `https://elsewhere\.example\.org`)
	// A pattern must match from end to end.
	wantFailure(t, verify(identity[:len(identity)-1], issuer), cli.ExitRemote, l.stack.Identity)
	wantFailure(t, verify(".*", issuer), cli.ExitInput, "it matches strangers")

	if got := bootsmith(t.Context(), l.variables(labSecret), "notify", "--output-dir", dir); got.Code != cli.ExitOK {
		t.Fatalf("notify ended with %d:\n%s", got.Code, got.stderr)
	}
	p := l.publication(t)
	if p.Status != "failed" || p.PublicationStatus != "cosign_verify_failed" || p.PublicationError == "" || p.Current {
		t.Errorf("the publication is %s %s: %s; current: %v", p.Status, p.PublicationStatus, p.PublicationError, p.Current)
	}
}

// TestRefusedEventHoldsNothingBack has the platform refuse an event for good,
// since it is of an unknown platform, and take that of the next build all the same.
func TestRefusedEventHoldsNothingBack(t *testing.T) {
	t.Parallel()
	l := startLab(t, "")
	dir := smallBuild(t, "stranger")
	l.publish(t, dir)
	notify := func() outcome {
		return bootsmith(t.Context(), l.variables(labSecret), "notify", "--output-dir", dir)
	}
	wantFailure(t, notify(), cli.ExitCallback, "amd64 ipxe", "unknown_platform")

	if err := os.RemoveAll(filepath.Join(dir, "amd64")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(smallBuild(t, labPlatform), "amd64"), filepath.Join(dir, "amd64")); err != nil {
		t.Fatal(err)
	}
	l.publish(t, dir)
	wantFailure(t, notify(), cli.ExitCallback, "resending", "unknown_platform")
	if p := l.publication(t); p.Status != "published" {
		t.Errorf("the publication is %s %s: %s", p.Status, p.PublicationStatus, p.PublicationError)
	}
}
