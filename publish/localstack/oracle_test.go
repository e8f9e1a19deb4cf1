package localstack_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/powernode/bootsmith/publish/localstack"
)

// TestOpenSSLReadsTimestamps lets another implementation ask and verify.
func TestOpenSSLReadsTimestamps(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is missing; install the Debian package openssl")
	}
	dir := t.TempDir()
	s := start(t, localstack.Config{Dir: filepath.Join(dir, "state")})
	run := func(args ...string) []byte {
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
		return out
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("data", []byte("a signature"))
	run("ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "query")
	resp, err := http.Post(s.URL+"/tsa/api/v1/timestamp", "application/timestamp-query", strings.NewReader(read(t, filepath.Join(dir, "query"))))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("status %d, %v: %s", resp.StatusCode, err, reply)
	}
	write("reply", reply)
	chain := []byte(read(t, filepath.Join(dir, "state", "tsa.pem")))
	var blocks []*pem.Block
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	write("root.pem", pem.EncodeToMemory(blocks[len(blocks)-1]))
	if out := run("ts", "-verify", "-queryfile", "query", "-in", "reply", "-CAfile", "root.pem", "-untrusted", filepath.Join("state", "tsa.pem")); !bytes.Contains(out, []byte("Verification: OK")) {
		t.Errorf("openssl says %s", out)
	}
}

// TestGoContainerRegistry pushes and pulls with a client that sends chunks.
func TestGoContainerRegistry(t *testing.T) {
	s := start(t, localstack.Config{})
	ref, err := name.ParseReference(s.Registry+"/acme/oci:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(100_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(pulled); err != nil {
		t.Error(err)
	}
	index, err := random.Index(1000, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	attached, ok := mutate.Subject(index, *subject).(v1.ImageIndex)
	if !ok {
		t.Fatal("an index with a subject is no index")
	}
	if err := remote.WriteIndex(ref.Context().Tag("index"), attached); err != nil {
		t.Fatal(err)
	}
	found, err := remote.Referrers(ref.Context().Digest(subject.Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	list, err := found.IndexManifest()
	if err != nil || len(list.Manifests) != 1 {
		t.Errorf("referrers are %v, %v", list, err)
	}
	repos, err := remote.Catalog(t.Context(), ref.Context().Registry)
	if err != nil || strings.Join(repos, " ") != "acme/oci" {
		t.Errorf("repositories are %q, %v", repos, err)
	}
}

// TestFulcioV1 asks as cosign 2 does.
func TestFulcioV1(t *testing.T) {
	s := start(t, localstack.Config{})
	token, err := s.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spk, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(subject(t, token)))
	proof, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{
		"publicKey":          map[string]any{"content": base64.StdEncoding.EncodeToString(spk), "algorithm": "ecdsa"},
		"signedEmailAddress": proof,
	})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/fulcio/api/v1/signingCert", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("status %d, %v: %s", resp.StatusCode, err, out)
	}
	block, _ := pem.Decode(out)
	if block == nil {
		t.Fatalf("no certificate in %q", out)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if len(cert.URIs) != 1 || cert.URIs[0].String() != s.Identity {
		t.Errorf("the certificate is for %v", cert.URIs)
	}
}

func subject(t *testing.T, token string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ Sub string }
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Sub
}

// TestRepeatedLogEntry expects what Rekor answers to a repeated request.
func TestRepeatedLogEntry(t *testing.T) {
	s := start(t, localstack.Config{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spk, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("artifact"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	entry := func(sig []byte) []byte {
		return fmt.Appendf(nil, `{"hashedRekordRequestV002":{"digest":%q,"signature":{"content":%q,
			"verifier":{"publicKey":{"rawBytes":%q},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}}}`, b64(sum[:]), b64(sig), b64(spk))
	}
	for i, want := range []int{http.StatusCreated, http.StatusConflict} {
		if got := call(t, http.MethodPost, s.URL+"/rekor/api/v2/log/entries", "application/json", entry(sig)); got != want {
			t.Errorf("request %d: status %d, not %d", i, got, want)
		}
	}
	sig[len(sig)-1] ^= 1
	if got := call(t, http.MethodPost, s.URL+"/rekor/api/v2/log/entries", "application/json", entry(sig)); got != http.StatusBadRequest {
		t.Errorf("a wrong signature: status %d", got)
	}
}

// TestProductionBinaryHasNoCA keeps this package out of cmd/bootsmith.
func TestProductionBinaryHasNoCA(t *testing.T) {
	out, err := exec.Command("go", "list", "-e", "-deps", "github.com/powernode/bootsmith/cmd/bootsmith").Output()
	if err != nil {
		t.Fatalf("listing the imports of cmd/bootsmith: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if p := strings.TrimSpace(line); strings.HasSuffix(p, "publish/localstack") || strings.HasPrefix(p, "github.com/sigstore/fulcio/pkg/ca") {
			t.Errorf("cmd/bootsmith imports %s", p)
		}
	}
}
