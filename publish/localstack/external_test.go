package localstack_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish/localstack"
)

// idp is an OpenID Connect issuer with TLS.
type idp struct {
	*httptest.Server
	key  *rsa.PrivateKey
	down bool
}

func startIDP(t *testing.T) *idp {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{key: key}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v any
		switch {
		case p.down:
			http.Error(w, "closed for the day", http.StatusServiceUnavailable)
			return
		case r.URL.Path == "/realm/.well-known/openid-configuration":
			v = map[string]any{"issuer": p.url(), "jwks_uri": p.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}}
		case r.URL.Path == "/keys":
			v = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "1", Algorithm: "RS256", Use: "sig"}}}
		default:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *idp) url() string { return p.URL + "/realm" }

// token signs claims; those given go over the usual ones, and nil takes one away.
func (p *idp) token(t *testing.T, change map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": p.url(), "aud": localstack.Audience, "sub": "repo:acme/images:ref:refs/heads/main", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		"workflow_ref": "acme/images/.forgejo/workflows/build.yml@refs/heads/main", "repository": "acme/images", "ref": "refs/heads/main", "run_id": "7",
	}
	for name, v := range change {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (p *idp) config(dir string, kind localstack.IssuerKind) localstack.Config {
	return localstack.Config{
		Dir: dir, IssuerTransport: p.Client().Transport,
		Issuers: []localstack.OIDCIssuer{{URL: p.url(), Kind: kind, Server: "https://git.example.org"}},
	}
}

// TestExternalIssuer lets two clients with different workflows sign by tokens of
// an issuer elsewhere. Both signatures verify after a restart.
func TestExternalIssuer(t *testing.T) {
	p, dir := startIDP(t), t.TempDir()
	s, err := localstack.Start(t.Context(), p.config(dir, localstack.WorkflowIssuer))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"acme/images/.forgejo/workflows/build.yml@refs/heads/main", "acme/other/.github/workflows/ship.yml@refs/tags/v1"}
	tokens := []string{
		p.token(t, nil),
		p.token(t, map[string]any{"workflow_ref": "acme/caller/x@y", "job_workflow_ref": names[1], "sub": "other"}),
	}
	bundles := make([]*bundle.Bundle, 2)
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Add(1)
		go func() {
			defer wg.Done()
			b, err := signWith(t, s, tokens[i], []byte("x"))
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
			bundles[i] = b
		}()
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	trusted := read(t, s.TrustedRootPath)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p.down = true // verifying needs it no more
	again := start(t, p.config(dir, localstack.WorkflowIssuer))
	if read(t, again.TrustedRootPath) != trusted {
		t.Error("the trusted root changed")
	}
	for i, b := range bundles {
		for j, name := range names {
			err := check(t, again.TrustedRootPath, b, []byte("x"), p.url(), "https://git.example.org/"+name)
			if (err == nil) != (i == j) {
				t.Errorf("the signature of %s verified as %s: %v", names[i], name, err)
			}
		}
		if err := check(t, again.TrustedRootPath, b, []byte("x"), p.url()+"x", "https://git.example.org/"+names[i]); err == nil {
			t.Error("another issuer's name was accepted")
		}
	}
	if _, err := signWith(t, again, p.token(t, nil), []byte("x")); err == nil {
		t.Error("Fulcio certifies while the issuer can't be asked for its keys")
	}
	p.down = false
	if _, err := signWith(t, again, p.token(t, nil), []byte("x")); err != nil {
		t.Errorf("after the issuer has come back: %v", err)
	}
}

func TestEmailIssuer(t *testing.T) {
	p := startIDP(t)
	s := start(t, p.config("", localstack.EmailIssuer))
	b, err := signWith(t, s, p.token(t, map[string]any{"email": "dev@example.org", "email_verified": true}), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := check(t, s.TrustedRootPath, b, []byte("x"), p.url(), "dev@example.org"); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]map[string]any{
		"unverified": {"email": "dev@example.org", "email_verified": false}, "no address": {"email_verified": true},
	} {
		if _, err := signWith(t, s, p.token(t, change), []byte("x")); err == nil {
			t.Errorf("%s: certified", name)
		}
	}
}

// TestExternalIssuerRefuses gives Fulcio tokens that it must not take, and sees
// that what would certify or store anything for anybody is not there.
func TestExternalIssuerRefuses(t *testing.T) {
	p, stranger := startIDP(t), startIDP(t)
	var logged strings.Builder
	var mu sync.Mutex
	c := p.config("", localstack.WorkflowIssuer)
	c.Log = func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		logged.WriteString(strings.ReplaceAll(format, "%", "") + "\n")
	}
	s := start(t, c)
	own, err := s.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"another audience":          p.token(t, map[string]any{"aud": "somebody-else"}),
		"another issuer":            stranger.token(t, nil),
		"an issuer that goes on":    p.token(t, map[string]any{"iss": p.url() + "/x"}),
		"another issuer's key":      stranger.token(t, map[string]any{"iss": p.url()}),
		"expired":                   p.token(t, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}),
		"no workflow":               p.token(t, map[string]any{"workflow_ref": nil}),
		"a token of the own issuer": own,
	} {
		if _, err := signWith(t, s, token, []byte("x")); err == nil || !strings.Contains(err.Error(), "Fulcio returned 400") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !strings.Contains(logged.String(), "refusing a token of") {
		t.Errorf("the log says %q", logged.String())
	}
	for _, path := range []string{"/v2/", "/oidc/actions/token", "/oidc/jwks"} {
		resp, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if s.Registry != "" || s.ActionsToken != "" || s.Identity != "" {
		t.Errorf("the stack offers %q, %q and %q", s.Registry, s.ActionsToken, s.Identity)
	}
}

func TestExternalIssuerConfig(t *testing.T) {
	good := localstack.OIDCIssuer{URL: "https://git.example.org/api/actions", Kind: localstack.WorkflowIssuer}
	for name, o := range map[string]localstack.OIDCIssuer{
		"no URL": {Kind: localstack.WorkflowIssuer}, "plain HTTP": {URL: "http://git.example.org", Kind: localstack.WorkflowIssuer},
		"no kind": {URL: good.URL}, "unknown kind": {URL: good.URL, Kind: "subject"},
	} {
		_, err := localstack.Start(t.Context(), localstack.Config{Dir: t.TempDir(), Issuers: []localstack.OIDCIssuer{o}})
		if fault.ClassOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Behind a proxy, and on every address, since it certifies nobody by itself.
	s := start(t, localstack.Config{
		Dir: filepath.Join(t.TempDir(), "state"), Addr: "0.0.0.0:0", PublicURL: "https://sigstore.example.org/", Issuers: []localstack.OIDCIssuer{good},
	})
	signing := read(t, s.SigningConfigPath)
	for _, want := range []string{`"https://sigstore.example.org/fulcio"`, `"https://sigstore.example.org/rekor"`, `"` + good.URL + `"`} {
		if !strings.Contains(signing, want) {
			t.Errorf("signing_config.json lacks %s:\n%s", want, signing)
		}
	}
	for host, want := range map[string]int{"sigstore.example.org": 200, "SIGSTORE.example.org:443": 200, "evil.example": 421} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(s.URL, "[::]", "127.0.0.1", 1)+"/healthz", nil)
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
			t.Errorf("host %s: %s, want %d", host, resp.Status, want)
		}
	}
}

// TestReplacedKeys verifies signatures of an old and a new state directory with
// one trust root, in which the old one's services have ended.
func TestReplacedKeys(t *testing.T) {
	var roots []map[string]any
	var bundles []*bundle.Bundle
	var s *localstack.Stack
	for range 2 {
		s = start(t, localstack.Config{})
		token, err := s.IssueToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := signWith(t, s, token, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		var trusted map[string]any
		if err := json.Unmarshal([]byte(read(t, s.TrustedRootPath)), &trusted); err != nil {
			t.Fatal(err)
		}
		roots, bundles = append(roots, trusted), append(bundles, b)
	}
	old, both := roots[0], roots[1]
	end := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	for _, part := range []string{"certificateAuthorities", "timestampAuthorities", "tlogs", "ctlogs"} {
		for _, v := range old[part].([]any) {
			service := v.(map[string]any)
			if key, ok := service["publicKey"].(map[string]any); ok {
				service = key
			}
			service["validFor"].(map[string]any)["end"] = end
		}
		both[part] = append(both[part].([]any), old[part].([]any)...)
	}
	raw, err := json.Marshal(both)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	for i, b := range bundles {
		if err := check(t, path, b, []byte("x"), s.Issuer, s.Identity); err != nil {
			t.Errorf("signature %d: %v", i, err)
		}
	}
}
