package localstack_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/powernode/bootsmith/publish/localstack"
)

func start(t *testing.T, c localstack.Config) *localstack.Stack {
	t.Helper()
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "state")
	}
	began := time.Now()
	s, err := localstack.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %v", time.Since(began))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// signWith signs through the files that a client is given, as production does.
func signWith(t *testing.T, s *localstack.Stack, token string, payload []byte) (*bundle.Bundle, error) {
	t.Helper()
	config, err := root.NewSigningConfigFromPath(s.SigningConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := root.NewTrustedRootFromPath(s.TrustedRootPath)
	if err != nil {
		t.Fatal(err)
	}
	keypair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := sign.Bundle(&sign.PlainData{Data: payload}, keypair, sign.BundleOptions{
		Context:                    t.Context(),
		TrustedRoot:                trusted,
		CertificateProvider:        sign.NewFulcio(&sign.FulcioOptions{BaseURL: config.FulcioCertificateAuthorityURLs()[0].URL}),
		CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token},
		TimestampAuthorities: []*sign.TimestampAuthority{
			sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: config.TimestampAuthorityURLs()[0].URL})},
		TransparencyLogs: []sign.Transparency{
			sign.NewRekor(&sign.RekorOptions{BaseURL: config.RekorLogURLs()[0].URL, Version: config.RekorLogURLs()[0].MajorAPIVersion})},
	})
	if err != nil {
		return nil, err
	}
	return bundle.NewBundle(signed)
}

func check(t *testing.T, trustedRoot string, b *bundle.Bundle, payload []byte, issuer, identity string) error {
	t.Helper()
	trusted, err := root.NewTrustedRootFromPath(trustedRoot)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := verify.NewVerifier(trusted, verify.WithSignedCertificateTimestamps(1),
		verify.WithSignedTimestamps(1), verify.WithTransparencyLog(1))
	if err != nil {
		t.Fatal(err)
	}
	who, err := verify.NewShortCertificateIdentity(issuer, "", identity, "")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(payload)
	_, err = verifier.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum[:]), verify.WithCertificateIdentity(who)))
	return err
}

func TestSignAndVerify(t *testing.T) {
	s := start(t, localstack.Config{})
	payload := []byte("a disk image")
	token, err := s.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := signWith(t, s, token, payload)
	if err != nil {
		t.Fatal(err)
	}
	if s.Identity != "https://gitea.example.org/acme/images/.gitea/workflows/build.yml@refs/heads/main" {
		t.Errorf("identity is %q", s.Identity)
	}
	if err := check(t, s.TrustedRootPath, b, payload, s.Issuer, s.Identity); err != nil {
		t.Errorf("verifying: %v", err)
	}
	for name, err := range map[string]error{
		"another payload":  check(t, s.TrustedRootPath, b, []byte("another"), s.Issuer, s.Identity),
		"another issuer":   check(t, s.TrustedRootPath, b, payload, s.Issuer+"x", s.Identity),
		"another identity": check(t, s.TrustedRootPath, b, payload, s.Issuer, s.IdentityOf(localstack.Workflow{Ref: "refs/heads/other"})),
		"another stack":    check(t, start(t, localstack.Config{}).TrustedRootPath, b, payload, s.Issuer, s.Identity),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTokensThatFulcioRefuses(t *testing.T) {
	s := start(t, localstack.Config{})
	other := start(t, localstack.Config{})
	token := func(s *localstack.Stack, r localstack.TokenRequest) string {
		out, err := s.Token(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, token := range map[string]string{
		"wrong audience": token(s, localstack.TokenRequest{Audience: "somebody-else"}),
		"expired":        token(s, localstack.TokenRequest{Lifetime: -time.Minute}),
		"foreign key":    token(other, localstack.TokenRequest{}),
		"no token":       "e30.e30.",
	} {
		if _, err := signWith(t, s, token, []byte("x")); err == nil {
			t.Errorf("%s: Fulcio accepted it", name)
		} else if name != "no token" && !strings.Contains(err.Error(), "Fulcio returned 400") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestActionsToken(t *testing.T) {
	s := start(t, localstack.Config{Workflow: localstack.Workflow{Repository: "demo/minimal"}})
	get := func(bearer, audience string) (int, string) {
		u, err := url.Parse(s.ActionsTokenURL)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if audience != "" {
			q.Set("audience", audience)
		}
		u.RawQuery = q.Encode()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", bearer)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var out struct{ Value string }
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, out.Value
	}
	for _, bearer := range []string{"", "bearer ", "bearer wrong", "Basic " + s.ActionsToken, s.ActionsToken} {
		if status, value := get(bearer, localstack.Audience); status != http.StatusUnauthorized || value != "" {
			t.Errorf("bearer %q: status %d", bearer, status)
		}
	}
	status, token := get("bearer "+s.ActionsToken, localstack.Audience)
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	b, err := signWith(t, s, token, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	want := "https://gitea.example.org/demo/minimal/.gitea/workflows/build.yml@refs/heads/main"
	if err := check(t, s.TrustedRootPath, b, []byte("x"), s.Issuer, want); err != nil {
		t.Error(err)
	}
	_, token = get("bearer "+s.ActionsToken, "")
	if _, err := signWith(t, s, token, []byte("x")); err == nil {
		t.Error("Fulcio accepted a token of the default audience")
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	payload := []byte("x")
	first, err := localstack.Start(t.Context(), localstack.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	token, err := first.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := signWith(t, first, token, payload)
	if err != nil {
		t.Fatal(err)
	}
	trusted := read(t, first.TrustedRootPath)
	if _, err := localstack.Start(t.Context(), localstack.Config{Dir: dir}); err == nil {
		t.Error("two stacks run on one directory")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}

	second := start(t, localstack.Config{Dir: dir})
	if second.URL != first.URL {
		t.Errorf("the port went from %s to %s", first.URL, second.URL)
	}
	if second.ActionsToken != first.ActionsToken {
		t.Error("the bearer token changed")
	}
	if read(t, second.TrustedRootPath) != trusted {
		t.Error("the trusted root changed")
	}
	if err := check(t, second.TrustedRootPath, b, payload, second.Issuer, second.Identity); err != nil {
		t.Errorf("an old signature: %v", err)
	}
	if token, err = second.IssueToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err = signWith(t, second, token, payload); err != nil {
		t.Fatalf("signing after a restart: %v", err)
	}
	if index := b.VerificationMaterial.TlogEntries[0].LogIndex; index != 1 {
		t.Errorf("the second entry has index %d", index)
	}
}

// TestOtherPort takes the remembered port away: the trusted root, identity and
// issuer must not care.
func TestOtherPort(t *testing.T) {
	dir := t.TempDir()
	first, err := localstack.Start(t.Context(), localstack.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	trusted := read(t, first.TrustedRootPath)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	squatter := start(t, localstack.Config{Addr: first.Registry})
	second := start(t, localstack.Config{Dir: dir})
	if second.URL == squatter.URL {
		t.Fatal("two stacks on one port")
	}
	if read(t, second.TrustedRootPath) != trusted || second.Identity != first.Identity || second.Issuer != first.Issuer {
		t.Error("the port shows in the trusted root, the identity or the issuer")
	}
	if !strings.Contains(read(t, second.SigningConfigPath), second.URL+"/fulcio") {
		t.Error("signing_config.json has the old port")
	}
	if _, err := localstack.Start(t.Context(), localstack.Config{Dir: t.TempDir(), Addr: second.Registry}); err == nil {
		t.Error("a fixed port that is taken was accepted")
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.org:0", "127.0.0.1"} {
		if s, err := localstack.Start(t.Context(), localstack.Config{Dir: t.TempDir(), Addr: addr}); err == nil {
			s.Close()
			t.Errorf("%q was accepted", addr)
		}
	}
}

func TestForeignHostIsRefused(t *testing.T) {
	s := start(t, localstack.Config{})
	for host, want := range map[string]int{
		"evil.example": http.StatusMisdirectedRequest, "evil.example:80": http.StatusMisdirectedRequest,
		"localhost:1": http.StatusOK, "10.0.2.2:5000": http.StatusOK, "[::1]:1": http.StatusOK, s.Registry: http.StatusOK,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("host %q: status %d, not %d", host, resp.StatusCode, want)
		}
	}
}

func TestDamagedKeyIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	s, err := localstack.Start(t.Context(), localstack.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "keys", "ca.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := localstack.Start(t.Context(), localstack.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "delete the state directory") {
		t.Errorf("a lost CA key: %v", err)
	}
}

func TestStateIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := start(t, localstack.Config{Dir: dir})
	for _, name := range []string{dir, filepath.Join(dir, "keys"), filepath.Join(dir, "keys", "ca.pem"), s.TrustedRootPath} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

func TestNoGoroutinesAreLeft(t *testing.T) {
	http.DefaultClient.CloseIdleConnections()
	before := runtime.NumGoroutine()
	s, err := localstack.Start(t.Context(), localstack.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signWith(t, s, token, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func TestRekorReadRoutes(t *testing.T) {
	s := start(t, localstack.Config{})
	token, err := s.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signWith(t, s, token, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"checkpoint": 200, "tile/entries/000.p/1": 200, "tile/0/000.p/1": 200,
		"tile/": 404, "tile/0": 404, ".state/treeState": 404, "tile/..%2f.state%2ftreeState": 404, "": 404,
	} {
		resp, err := http.Get(s.URL + "/rekor/api/v2/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%q: status %d, not %d", path, resp.StatusCode, want)
		}
		if path == "checkpoint" && !strings.HasPrefix(string(body), "rekor.localhost\n1\n") {
			t.Errorf("checkpoint %q", body)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
