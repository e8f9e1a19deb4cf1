package ingest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/powernode/bootsmith/callback"
)

const (
	platformName = "debian-13-server"
	identity     = "https://ci.example.com/acme/images/.gitea/workflows/build.yaml@refs/heads/main"
	issuer       = "https://ci.example.com"
	operateToken = "operate-operate-operate"
	readToken    = "read-read-read-read-read"
	workerToken  = "worker-worker-worker"
)

var testNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// registry is a Verifier that has seen what push filed.
type registry struct {
	mu    sync.Mutex
	hold  map[string]func(context.Context) (Evidence, error)
	calls []VerifyRequest
}

func (r *registry) Verify(ctx context.Context, q VerifyRequest) (Evidence, error) {
	r.mu.Lock()
	r.calls = append(r.calls, q)
	answer, ok := r.hold[q.OCIRef]
	r.mu.Unlock()
	if !ok {
		return Evidence{}, &VerifyError{StatusManifestUnreachable, errors.New("there is no such manifest")}
	}
	return answer(ctx)
}

func (r *registry) set(ref string, answer func(context.Context) (Evidence, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold[ref] = answer
}

// push files the evidence for an event, changed by spoil.
func (r *registry) push(e callback.Event, spoil func(*Evidence)) {
	ev := evidence(e)
	if spoil != nil {
		spoil(&ev)
	}
	r.set(e.OCIRef, func(context.Context) (Evidence, error) { return ev, nil })
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls)
}

// evidence is what a good verifier finds for an event.
func evidence(e callback.Event) Evidence {
	predicate, err := json.Marshal(map[string]any{
		"platform_name": e.PlatformName, "git_sha": e.GitSHA, "arch": e.Arch, "artifact_family": e.ArtifactFamily,
		"sha256": e.SHA256, "size_bytes": e.SizeBytes, "built_at": e.BuiltAt, "composefs_digest": e.ComposefsDigest,
		"roothash": e.RootHash, "build_manifest_sha256": e.BuildManifestSHA256,
	})
	if err != nil {
		panic(err)
	}
	return Evidence{
		ManifestDigest: e.OCIDigest,
		ManifestSize:   4321,
		MediaType:      "application/vnd.oci.image.manifest.v1+json",
		Annotations:    map[string]string{revisionAnnotation: e.GitSHA},
		Layers:         []Layer{{Title: "disk.img", MediaType: "application/octet-stream", Digest: "sha256:" + e.SHA256, Size: e.SizeBytes}},
		Identity:       identity,
		Issuer:         issuer,
		Publication:    predicate,
	}
}

// event is a build: n makes it another revision, an hour later.
func event(n int) callback.Event {
	hex := func(what string) string { return hexSum([]byte(fmt.Sprint(what, n))) }
	return callback.Event{
		PlatformName: platformName, GitSHA: hex("commit")[:40], Arch: "amd64",
		OCIRef: "registry.example.com/acme/disk-images/" + platformName + "@sha256:" + hex("manifest"),
		SHA256: hex("file"), SizeBytes: int64(1000 + n), ArtifactFamily: "raw",
		BuiltAt:   time.Date(2026, 11, 22, n, 0, 0, 0, time.UTC),
		OCIDigest: "sha256:" + hex("manifest"), SBOMURL: "oci://registry.example.com/acme/disk-images/" + platformName + "@sha256:" + hex("sbom"),
		CosignIdentity: identity, CosignIssuer: issuer,
		ComposefsDigest: hex("composefs"), RootHash: hex("root"), BuildManifestSHA256: hex("manifest.json"),
	}
}

// bench is a service with one platform and one webhook.
type bench struct {
	t        *testing.T
	cfg      Config
	registry *registry
	service  *Service
	platform Platform
	webhook  Webhook
	secret   callback.Secret
}

func newConfig(t testing.TB, v Verifier) Config {
	dir := filepath.Join(t.TempDir(), "a folder?x=%41#")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return Config{
		DB: filepath.Join(dir, "ingest.db"), Verifier: v, Key: make([]byte, KeySize),
		Tokens: []Token{
			{Name: "operate", Secret: operateToken, Scopes: []Scope{ScopeOperate}},
			{Name: "read", Secret: readToken, Scopes: []Scope{ScopeRead}},
			{Name: "worker", Secret: workerToken, Scopes: []Scope{ScopeWorker}},
		},
		Now: func() time.Time { return testNow }, Rand: rand.Reader, RetryDelay: time.Millisecond, PollInterval: 10 * time.Millisecond,
	}
}

func patterns() PlatformChange {
	id, iss := `https://ci\.example\.com/acme/images/.*@refs/heads/main`, `https://ci\.example\.com`
	return PlatformChange{CosignIdentityRegexp: &id, CosignIssuerRegexp: &iss}
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, registry: &registry{hold: map[string]func(context.Context) (Evidence, error){}}}
	b.cfg = newConfig(t, b.registry)
	b.service = b.open()
	var err error
	if b.platform, err = b.service.CreatePlatform(t.Context(), platformName, patterns()); err != nil {
		t.Fatal(err)
	}
	if b.webhook, b.secret, err = b.service.CreateWebhook(t.Context(), b.platform.ID); err != nil {
		t.Fatal(err)
	}
	return b
}

// open opens one more service on the same database.
func (b *bench) open() *Service {
	s, err := Open(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.t.Error(err)
		}
	})
	return s
}

// run starts the workers of a service.
func (b *bench) run(s *Service) {
	go func() {
		if err := s.Run(context.Background()); err != nil {
			b.t.Error(err)
		}
	}()
}

const (
	byID       = "/api/v1/system/webhooks/disk_image/built/"
	byPlatform = "/api/v1/system/webhooks/disk_image_built"
)

// post sends a signed body.
func (b *bench) post(path string, body []byte, secret callback.Secret, change func(http.Header)) callback.Response {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
	if err := callback.Sign(r.Header, body, callback.MessageID(body), testNow, secret); err != nil {
		b.t.Fatal(err)
	}
	if change != nil {
		change(r.Header)
	}
	w := httptest.NewRecorder()
	b.service.Handler().ServeHTTP(w, r)
	var answer callback.Response
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || !answer.Success {
		b.t.Errorf("answer %d %s", w.Code, w.Body)
	}
	return answer
}

// send reports an event and returns the publication's identifier.
func (b *bench) send(e callback.Event, status string) string {
	b.t.Helper()
	body, err := e.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	r := b.post(byID+b.webhook.ID, body, b.secret, nil)
	if r.Status != status || r.PublicationID == "" {
		b.t.Fatalf("answer %+v, want status %q", r, status)
	}
	return r.PublicationID
}

// await waits until a publication's two statuses are as wanted.
func (b *bench) await(id, status, publicationStatus string) Publication {
	b.t.Helper()
	var p Publication
	for range 500 {
		var err error
		if p, err = b.service.Publication(b.t.Context(), id); err != nil {
			b.t.Fatal(err)
		}
		if p.Status == status && p.PublicationStatus == publicationStatus {
			return p
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Fatalf("publication is %s, %s (%s), want %s, %s", p.Status, p.PublicationStatus, p.PublicationError, status, publicationStatus)
	return p
}
