package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/callback"
	"github.com/powernode/bootsmith/callback/ingest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/cmd/internal/receiver"
	"github.com/powernode/bootsmith/publish/localstack"
)

// lab is a registry with its signing services, and a platform's ingest side.
type lab struct {
	stack      *localstack.Stack
	service    *ingest.Service
	webhookURL string
}

const (
	labPlatform = "small"
	labWebhook  = "e2e"
	labSecret   = callback.Secret("0123456789abcdef0123456789abcdef")
)

// startLab starts a lab whose platform trusts signers of the given identity;
// "" stands for the stack's own.
func startLab(t *testing.T, identity string) *lab {
	t.Helper()
	return startLabIn(t, filepath.Join(t.TempDir(), "sigstore"), identity)
}

// startLabIn does so with the services' state in a folder.
func startLabIn(t *testing.T, dir, identity string) *lab {
	t.Helper()
	stack, err := localstack.Start(t.Context(), localstack.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stack.Close() })
	l := &lab{stack: stack}
	l.service, err = ingest.Open(ingest.Config{
		DB: filepath.Join(t.TempDir(), "ingest.db"), Key: bytes.Repeat([]byte{7}, ingest.KeySize), Now: time.Now, Rand: rand.Reader,
		Verifier: receiver.Verifier{TrustedRootPath: stack.TrustedRootPath},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.service.Close() })
	if identity == "" {
		identity = regexp.QuoteMeta(stack.Identity)
	}
	l.provision(t, identity)
	l.serve(t)
	return l
}

func (l *lab) provision(t *testing.T, identity string) {
	t.Helper()
	issuer := regexp.QuoteMeta(l.stack.Issuer)
	p, err := l.service.CreatePlatform(t.Context(), labPlatform, ingest.PlatformChange{CosignIdentityRegexp: &identity, CosignIssuerRegexp: &issuer})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.service.AddWebhook(t.Context(), p.ID, labWebhook, labSecret); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) serve(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.webhookURL = "http://" + listener.Addr().String() + "/api/v1/system/webhooks/disk_image/built/" + labWebhook
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- receiver.Serve(ctx, l.service, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// variables are those of a workflow's job.
func (l *lab) variables(secret callback.Secret) map[string]string {
	return map[string]string{
		"ACTIONS_ID_TOKEN_REQUEST_URL": l.stack.ActionsTokenURL, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": l.stack.ActionsToken,
		cli.SigningConfigVariable: l.stack.SigningConfigPath, cli.TrustedRootVariable: l.stack.TrustedRootPath,
		cli.WebhookURLVariable: l.webhookURL, cli.WebhookSecretVariable: string(secret),
	}
}

// published publishes a small build to the lab's registry and returns its
// folder.
func (l *lab) published(t *testing.T) string {
	t.Helper()
	dir := smallBuild(t, labPlatform)
	l.publish(t, dir)
	return dir
}

// publish publishes a build to the lab's registry.
func (l *lab) publish(t *testing.T, dir string) {
	t.Helper()
	got := bootsmith(t.Context(), l.variables(labSecret), "publish", "--output-dir", dir, "--repository", l.stack.Registry+"/acme/images")
	if got.Code != cli.ExitOK {
		t.Fatalf("publish ended with %d:\n%s", got.Code, got.stderr)
	}
}

// publication waits until the ingest side has judged what it was told of.
func (l *lab) publication(t *testing.T) ingest.Publication {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		all, err := l.service.Publications(t.Context(), ingest.Filter{}, ingest.Page{})
		if err != nil {
			t.Fatal(err)
		}
		if len(all.Items) == 1 && (all.Items[0].Status == "published" || all.Items[0].Status == "failed") {
			return all.Items[0]
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the publication was not judged in time")
	return ingest.Publication{}
}

// smallBuild writes what a build of one tiny artifact leaves.
func smallBuild(t *testing.T, platform string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(path, text string) manifest.File {
		t.Helper()
		path = filepath.Join(dir, "amd64", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return manifest.File{SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(text))), SizeBytes: int64(len(text))}
	}
	const script = "ipxe/boot.ipxe"
	m := &manifest.Manifest{
		SchemaVersion: manifest.SchemaVersion, Platform: platform, Arch: "amd64", GitSHA: strings.Repeat("ab", 20), Variants: []string{"ipxe"},
		ComposefsDigest: strings.Repeat("c", 64), FsverityRootHash: strings.Repeat("c", 64), RootHash: strings.Repeat("d", 64),
		Created: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), PlanDigest: strings.Repeat("e", 64), DefinitionSHA256: strings.Repeat("f", 64),
		Families: []manifest.Family{{Name: "ipxe", Main: script, Files: []manifest.FamilyFile{{Path: script, MediaType: "text/plain"}}}},
		Artifacts: map[string]manifest.File{
			script:                 write(script, "#!ipxe\n"),
			manifest.SPDXName:      write(manifest.SPDXName, `{"spdxVersion":"SPDX-2.3"}`),
			manifest.CycloneDXName: write(manifest.CycloneDXName, `{"bomFormat":"CycloneDX"}`),
		},
	}
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(manifest.FileName, string(text))
	return dir
}
