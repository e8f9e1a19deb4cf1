package ingest

import (
	"context"
	"errors"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// TestSenderToPublication runs the real sender against the handler.
func TestSenderToPublication(t *testing.T) {
	b := newBench(t)
	b.run(b.service)
	server := httptest.NewServer(b.service.Handler())
	defer server.Close()
	e := event(1)
	b.registry.push(e, nil)
	sender := callback.Sender{URL: server.URL + byID + b.webhook.ID, Secret: b.secret, Now: b.cfg.Now, Outbox: t.TempDir()}
	r, err := sender.Send(t.Context(), e)
	if err != nil || r.Status != callback.StatusQueued {
		t.Fatalf("%+v, %v", r, err)
	}
	p := b.await(r.PublicationID, StatusPublished, StatusPublished)
	if !p.Current || p.PublishedAt != testNow || p.CosignIdentity != identity || p.CosignIssuer != issuer || len(p.Layers) != 1 ||
		p.SHA256 != e.SHA256 || p.SizeBytes != e.SizeBytes || p.BuiltAt != e.BuiltAt || p.PlatformName != platformName ||
		p.ComposefsDigest != e.ComposefsDigest || p.RootHash != e.RootHash || p.BuildManifestSHA256 != e.BuildManifestSHA256 || p.OCIRef != e.OCIRef {
		t.Errorf("published %+v", p)
	}
	q := b.registry.calls[0]
	if q.OCIRef != e.OCIRef || !strings.HasPrefix(q.IdentityRegexp, `\A(?:`) || !strings.HasSuffix(q.IssuerRegexp, `)\z`) {
		t.Errorf("asked for %+v", q)
	}
	if r, err = sender.Send(t.Context(), e); err != nil || r.Status != callback.StatusOK || r.PublicationID != p.ID {
		t.Errorf("again: %+v, %v", r, err)
	}
	sender.Secret = "another"
	var refused *callback.Error
	if _, err = sender.Send(t.Context(), e); !errors.As(err, &refused) || refused.Reason != ReasonBadSignature {
		t.Errorf("wrong secret: %v", err)
	}
	if n := b.registry.count(); n != 1 {
		t.Errorf("%d verifications", n)
	}
	attempts, err := b.service.RecentAttempts(t.Context(), b.webhook.ID)
	if err != nil || len(attempts) != 3 {
		t.Fatalf("%v, %v", attempts, err)
	}
	if attempts[0].Reason != ReasonBadSignature || attempts[0].MessageID != "" || !attempts[1].Replayed || attempts[2].Replayed ||
		attempts[2].Outcome != callback.StatusQueued || attempts[1].Outcome != callback.StatusOK || attempts[2].PublicationID != p.ID {
		t.Errorf("attempts %+v", attempts)
	}
}

func TestCurrentFollowsTheBuildTime(t *testing.T) {
	b := newBench(t)
	b.run(b.service)
	publish := func(e callback.Event, publicationStatus string) string {
		b.registry.push(e, nil)
		id := b.send(e, callback.StatusQueued)
		b.await(id, StatusPublished, publicationStatus)
		return id
	}
	current := func(want ...string) {
		t.Helper()
		yes := true
		l, err := b.service.Publications(t.Context(), Filter{Current: &yes}, Page{})
		var got []string
		for _, p := range l.Items {
			got = append(got, p.ID)
		}
		if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("current %v, want %v (%v)", got, want, err)
		}
	}
	first := publish(event(1), StatusPublished)
	current(first)
	third := publish(event(3), StatusPublished)
	current(third)
	// An older build that arrives late, from an outbox for instance.
	publish(event(2), StatusSuperseded)
	current(third)
	// A replay of the first doesn't bring it back.
	b.send(event(1), callback.StatusOK)
	current(third)
	// At the same build time the one that was received later wins.
	same := event(4)
	same.BuiltAt = event(3).BuiltAt
	fourth := publish(same, StatusPublished)
	current(fourth)
	// Other architectures and families have a current one of their own.
	arm, iso := event(5), event(6)
	arm.Arch, iso.ArtifactFamily = "arm64", "iso"
	fifth := publish(arm, StatusPublished)
	sixth := publish(iso, StatusPublished)
	current(sixth, fifth, fourth)
}

func TestFamilyOCIDescribesTheManifest(t *testing.T) {
	b := newBench(t)
	b.run(b.service)
	e := event(1)
	e.ArtifactFamily, e.SHA256, e.SizeBytes = callback.FamilyOCI, strings.TrimPrefix(e.OCIDigest, "sha256:"), 4321
	b.registry.push(e, func(ev *Evidence) { ev.Layers = nil })
	b.await(b.send(e, callback.StatusQueued), StatusPublished, StatusPublished)
	wrong := event(2)
	wrong.ArtifactFamily, wrong.SHA256, wrong.SizeBytes = callback.FamilyOCI, strings.TrimPrefix(wrong.OCIDigest, "sha256:"), 99
	b.registry.push(wrong, nil)
	b.await(b.send(wrong, callback.StatusQueued), StatusFailed, StatusDigestMismatch)
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name, status, words string
		spoil               func(*Evidence)
		answer              func(context.Context) (Evidence, error)
	}{
		{name: "identity", status: StatusCosignVerifyFailed, words: "identity", spoil: func(ev *Evidence) { ev.Identity += "-evil" }},
		{name: "identity prefix", status: StatusCosignVerifyFailed, words: "identity", spoil: func(ev *Evidence) { ev.Identity = "https://evil.example/" + identity }},
		{name: "issuer", status: StatusCosignVerifyFailed, words: "issuer", spoil: func(ev *Evidence) { ev.Issuer = "https://ciXexample.com" }},
		{name: "no issuer", status: StatusCosignVerifyFailed, words: "issuer", spoil: func(ev *Evidence) { ev.Issuer = "" }},
		{name: "manifest digest", status: StatusDigestMismatch, words: "digest", spoil: func(ev *Evidence) { ev.ManifestDigest = "sha256:00" }},
		{name: "file digest", status: StatusDigestMismatch, words: "no file", spoil: func(ev *Evidence) { ev.Layers[0].Digest = "sha256:00" }},
		{name: "file size", status: StatusDigestMismatch, words: "bytes", spoil: func(ev *Evidence) { ev.Layers[0].Size++ }},
		{name: "no layers", status: StatusDigestMismatch, words: "no file", spoil: func(ev *Evidence) { ev.Layers = nil }},
		{name: "no predicate", status: StatusPredicateMissing, words: "statement", spoil: func(ev *Evidence) { ev.Publication = nil }},
		{name: "bad predicate", status: StatusPredicateMismatch, words: "JSON", spoil: func(ev *Evidence) { ev.Publication = []byte("{") }},
		{name: "empty predicate", status: StatusPredicateMismatch, words: "platform_name", spoil: func(ev *Evidence) { ev.Publication = []byte("{}") }},
		{name: "annotation", status: StatusPredicateMismatch, words: "git_sha", spoil: func(ev *Evidence) { ev.Annotations[revisionAnnotation] = "x" }},
		{name: "signature", status: StatusCosignVerifyFailed, words: "no signature", answer: func(context.Context) (Evidence, error) {
			return Evidence{}, &VerifyError{StatusCosignVerifyFailed, errors.New("no signature")}
		}},
		{name: "plain error", status: StatusVerificationFailed, words: "disk full?line", answer: func(context.Context) (Evidence, error) {
			return Evidence{}, errors.New("disk full\rline")
		}},
		{name: "odd status", status: StatusVerificationFailed, words: "x", answer: func(context.Context) (Evidence, error) {
			return Evidence{}, &VerifyError{"A B", errors.New("x")}
		}},
		{name: "panic", status: StatusVerificationCrashed, words: "boom", answer: func(context.Context) (Evidence, error) { panic("boom") }},
		{name: "timeout", status: StatusVerificationTimeout, words: "200ms", answer: func(ctx context.Context) (Evidence, error) {
			<-ctx.Done()
			return Evidence{}, ctx.Err()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.service.cfg.VerifyTimeout = 200 * time.Millisecond
			b.run(b.service)
			e := event(1)
			b.registry.push(e, c.spoil)
			if c.answer != nil {
				b.registry.set(e.OCIRef, c.answer)
			}
			p := b.await(b.send(e, callback.StatusQueued), StatusFailed, c.status)
			if p.Current || !strings.Contains(p.PublicationError, c.words) || p.CosignIdentity != "" || !p.PublishedAt.IsZero() {
				t.Errorf("%+v", p)
			}
			// The same event again is a new try.
			b.registry.push(e, nil)
			b.await(b.send(e, callback.StatusQueued), StatusPublished, StatusPublished)
		})
	}
}

func TestUnreachableIsTriedAgain(t *testing.T) {
	b := newBench(t)
	b.run(b.service)
	e := event(1)
	p := b.await(b.send(e, callback.StatusQueued), StatusFailed, StatusManifestUnreachable)
	if n := b.registry.count(); n != maxFetches || p.PublicationError == "" {
		t.Errorf("%d fetches, %q", n, p.PublicationError)
	}
	var once sync.Once
	b.registry.set(e.OCIRef, func(context.Context) (ev Evidence, err error) {
		ev = evidence(e)
		once.Do(func() { err = &VerifyError{StatusManifestUnreachable, errors.New("503")} })
		return ev, err
	})
	b.await(b.send(e, callback.StatusQueued), StatusPublished, StatusPublished)
}

// TestLeakedSecretCannotPublish signs events with the real secret that say
// something else than the signed statement, one field at a time.
func TestLeakedSecretCannotPublish(t *testing.T) {
	b := newBench(t)
	b.run(b.service)
	e := event(1)
	b.registry.push(e, nil)
	id := b.send(e, callback.StatusQueued)
	honest := b.await(id, StatusPublished, StatusPublished)
	zeros := strings.Repeat("0", 64)
	for name, forge := range map[string]func(*callback.Event){
		"git_sha":               func(f *callback.Event) { f.GitSHA = "fffffff" },
		"arch":                  func(f *callback.Event) { f.Arch = "arm64" },
		"artifact_family":       func(f *callback.Event) { f.ArtifactFamily = "iso" },
		"built_at":              func(f *callback.Event) { f.BuiltAt = f.BuiltAt.Add(time.Hour) },
		"composefs_digest":      func(f *callback.Event) { f.ComposefsDigest = zeros },
		"roothash":              func(f *callback.Event) { f.RootHash = "" },
		"build_manifest_sha256": func(f *callback.Event) { f.BuildManifestSHA256 = zeros },
		"firmware_ref":          func(f *callback.Event) { f.FirmwareRef = "registry.example.com/evil" },
	} {
		forged := e
		forge(&forged)
		status := StatusPublished // of the honest row, which stays
		if forged.GitSHA != e.GitSHA || forged.Arch != e.Arch || forged.ArtifactFamily != e.ArtifactFamily {
			status = StatusFailed
		}
		p := b.await(b.send(forged, callback.StatusQueued), status, StatusPredicateMismatch)
		if !strings.HasPrefix(p.PublicationError, name+":") {
			t.Errorf("%s: %q", name, p.PublicationError)
		}
		// The honest row keeps its facts; told again, it forgets the attempt.
		if now, err := b.service.Publication(t.Context(), id); err != nil || !samePublication(now, honest) {
			t.Errorf("%s: the published facts changed:\n%+v\n%+v", name, now, honest)
		}
		b.send(e, callback.StatusOK)
		if p := b.await(id, StatusPublished, StatusPublished); p.PublicationError != "" {
			t.Errorf("%s: %q is left", name, p.PublicationError)
		}
	}
}

func samePublication(a, b Publication) bool {
	if len(a.Layers) != len(b.Layers) || len(a.Layers) > 0 && a.Layers[0] != b.Layers[0] {
		return false
	}
	return a.ID == b.ID && a.OCIRef == b.OCIRef && a.SHA256 == b.SHA256 && a.SizeBytes == b.SizeBytes && a.FirmwareRef == b.FirmwareRef &&
		a.BuiltAt == b.BuiltAt && a.RootHash == b.RootHash && a.ComposefsDigest == b.ComposefsDigest && a.CosignIdentity == b.CosignIdentity &&
		a.BuildManifestSHA256 == b.BuildManifestSHA256 && a.Current == b.Current && a.Status == b.Status
}

// TestCeiling keeps registries, signatures and the build system out.
func TestCeiling(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("listing imports: %v (Debian package golang-go)", err)
	}
	const own = "github.com/powernode/bootsmith/"
	for _, path := range strings.Fields(string(out)) {
		if strings.HasPrefix(path, own) && path != own+"callback" && path != own+"callback/ingest" {
			t.Errorf("imports %s", path)
		}
		for _, banned := range []string{"sigstore", "oras", "anchore", "syft", "cosign", "containerregistry", "containerd", "opencontainers"} {
			if strings.Contains(path, banned) {
				t.Errorf("imports %s", path)
			}
		}
	}
}
