package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
)

func TestPatterns(t *testing.T) {
	for _, bad := range []string{
		"", " ", ".*", "^.*$", ".+", "(.*)", "(?s).*", `[\s\S]*`, "[^x].*|x", ".{0,}", `\S+`, `https?://.*`, ".*@.*", "a|.*", "(", "a)|(b", "[", strings.Repeat("a", 5000),
	} {
		if _, err := checkPattern("identity", bad); fault.ClassOf(err) != fault.Input {
			t.Errorf("pattern %.40q: error %v, want one of class Input", bad, err)
		}
	}
	for pattern, warned := range map[string]bool{
		`https://gitea\.example\.org/acme/images/.*`: false,
		`https://gitea.example\.org/acme/.*`:         true,
		`https://[a.]example\.org/x`:                 false,
		`https://[]a.]example\.org/x`:                false,
		`https://[^]a.]example\.org/x`:               false,
		`\Qhttps://gitea.example.org\E/x`:            false,
		`\Qhttps://gitea.example.org\E.x`:            true,
		`dev@example\.org`:                           false,
		`dev@example.org`:                            true,
		`https://a\.example\.org/.{3}`:               false,
	} {
		warning, err := checkPattern("identity", pattern)
		if err != nil || (warning != "") != warned {
			t.Errorf("pattern %q: warning %q, error %v", pattern, warning, err)
		}
	}
	w, err := Policy{IdentityRegexp: "dev@example.org", IssuerRegexp: "https://example.org/x"}.Check()
	if err != nil || len(w) != 2 {
		t.Errorf("warnings %q, error %v", w, err)
	}
}

const testToken = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln"

func TestTokenLadder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(testToken+"-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "bearer secret" || r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("api-version") != "2.0" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		io.WriteString(w, `{"value":"`+testToken+`-actions"}`)
	}))
	defer server.Close()
	env := map[string]string{}
	o := TokenOptions{
		Token: testToken + "-flag", File: file, Command: "print a token",
		Run: func(context.Context, string) ([]byte, error) { return []byte(testToken + "-command\n"), nil },
		Getenv: func(name string) string {
			return map[string]string{
				"SIGSTORE_ID_TOKEN": testToken + "-env", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret",
				"ACTIONS_ID_TOKEN_REQUEST_URL": server.URL + "/token?api-version=2.0&audience=other",
			}[name] + env[name]
		},
	}
	for _, step := range []struct {
		want string
		next func()
	}{
		{"flag", func() { o.Token = "" }},
		{"file", func() { o.File = "" }},
		{"env", func() {
			old := o.Getenv
			o.Getenv = func(name string) string {
				if name == "SIGSTORE_ID_TOKEN" {
					return ""
				}
				return old(name)
			}
		}},
		{"command", func() { o.Command = "" }},
		{"actions", func() { o.Getenv = nil }},
	} {
		source, err := o.Source()
		if err != nil {
			t.Fatal(err)
		}
		token, err := source(t.Context())
		if err != nil || token != testToken+"-"+step.want {
			t.Errorf("token %q (%v), want the one from %s", token, err, step.want)
		}
		step.next()
	}
	_, err := o.Source()
	for _, way := range []string{"--identity-token", "SIGSTORE_ID_TOKEN", "--identity-token-command", "ACTIONS_ID_TOKEN_REQUEST_URL"} {
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), way) {
			t.Errorf("error %v does not name %s", err, way)
		}
	}
}

func TestTokensAreNotRepeated(t *testing.T) {
	for name, bad := range map[string]string{"two parts": "secret.part", "spaces": "a b.c.secret", "empty part": "secret..x", "long": strings.Repeat("secret", 20000) + ".a.b"} {
		_, err := checkToken([]byte(bad), "a file")
		if fault.ClassOf(err) != fault.Input || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestActionsTokenIsStrict(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"unauthorized": {http.StatusUnauthorized, `{"value":"` + testToken + `"}`},
		"no value":     {http.StatusOK, `{}`},
		"no JSON":      {http.StatusOK, `<html>`},
		"no token":     {http.StatusOK, `{"value":"x"}`},
		"created":      {http.StatusCreated, `{"value":"` + testToken + `"}`},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		}))
		token, err := actionsToken(server.URL, "secret-bearer", nil)(t.Context())
		if err == nil || token != "" || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), testToken) && c.status != http.StatusUnauthorized {
			t.Errorf("%s: token %q, error %v", name, token, err)
		}
		server.Close()
	}
	if _, err := actionsToken("::", "x", nil)(t.Context()); err == nil {
		t.Error("a malformed URL was taken")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRetrier(t *testing.T) {
	respond := func(status int) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			if r.Body != nil {
				if _, err := io.ReadAll(r.Body); err != nil {
					return nil, err
				}
			}
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("words")), Header: http.Header{}, Request: r}, nil
		}
	}
	fail := func(err error) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	for name, c := range map[string]struct {
		do    func(*http.Request) (*http.Response, error)
		calls int32
	}{
		"ok":           {respond(200), 1},
		"not found":    {respond(404), 1},
		"busy":         {respond(429), tries},
		"down":         {respond(503), tries},
		"refused":      {fail(syscall.ECONNREFUSED), tries},
		"reset":        {fail(syscall.ECONNRESET), tries},
		"other errors": {fail(errors.New("certificate")), 1},
	} {
		for _, refuse := range []bool{false, true} {
			var calls atomic.Int32
			tr := &retrier{refuse: refuse, wait: time.Microsecond, base: roundTrip(func(r *http.Request) (*http.Response, error) {
				calls.Add(1)
				return c.do(r)
			})}
			req, err := http.NewRequest(http.MethodPost, "http://service.invalid/path?secret", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if calls.Load() != c.calls {
				t.Errorf("%s: %d calls, want %d", name, calls.Load(), c.calls)
			}
			var status *StatusError
			if err == nil && resp.StatusCode >= 400 && refuse {
				t.Errorf("%s: answer %d, want an error", name, resp.StatusCode)
			}
			if errors.As(err, &status) && (!strings.Contains(err.Error(), "words") || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
}

func TestRetrierStopsWithItsContext(t *testing.T) {
	hang := roundTrip(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	tr := &retrier{base: hang, ctx: ctx, wait: time.Hour}
	req, err := http.NewRequest(http.MethodGet, "http://service.invalid/", nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := tr.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("error %v after %v", err, time.Since(began))
	}
}

func TestBackoffHonoursRetryAfter(t *testing.T) {
	resp := &http.Response{Header: http.Header{"Retry-After": {"7"}}}
	if d := backoff(time.Millisecond, 1, resp); d != 7*time.Second {
		t.Errorf("waits %v, want 7s", d)
	}
	resp.Header.Set("Retry-After", "100000")
	if d := backoff(time.Millisecond, 1, resp); d != longestWait {
		t.Errorf("waits %v, want %v", d, longestWait)
	}
}

func TestCheckedReaderKeepsTheEnd(t *testing.T) {
	data := bytes.Repeat([]byte("content "), 1000)
	sum := sha256.Sum256(data)
	read := func(data []byte, size int64) (int, error) {
		c := &checkedReader{r: bytes.NewReader(data), sum: sha256.New(), want: hex.EncodeToString(sum[:]), left: size, progress: func(int64) {}}
		got, err := io.ReadAll(c)
		return len(got), err
	}
	if n, err := read(data, int64(len(data))); n != len(data) || err != nil {
		t.Errorf("%d bytes, error %v", n, err)
	}
	other := bytes.Clone(data)
	other[0]++
	for name, d := range map[string][]byte{"changed": other, "shorter": data[1:], "empty": nil} {
		if n, err := read(d, int64(len(data))); n >= len(data) || !errors.Is(err, errChanged) {
			t.Errorf("%s: %d bytes, error %v", name, n, err)
		}
	}
}

func TestSameStatement(t *testing.T) {
	art := func(run string) []byte {
		p := Provenance{RunDetails: RunDetails{Builder: ProvenanceBuilder{ID: "x"}}}
		if run != "" {
			p.RunDetails.Metadata = &ProvenanceMetadata{InvocationID: run}
		}
		s, err := newStatement("n", "00", PredicateProvenance, p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if !sameStatement(art("run 1"), art("run 2")) || !sameStatement(art(""), art("run 2")) {
		t.Error("the run makes a difference")
	}
	other, err := newStatement("n", "01", PredicateProvenance, Provenance{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range [][]byte{other, []byte("x"), nil, []byte(`{"predicateType":"` + PredicateSPDX + `"}`)} {
		if sameStatement(s, art("run 1")) || sameStatement(art("run 1"), s) {
			t.Errorf("%.30s is the same as another statement", s)
		}
	}
	a, b := []byte(`{"predicateType":"a","predicate":1}`), []byte(`{"predicate":1,"predicateType":"a"}`)
	if sameStatement(a, b) {
		t.Error("statements of other types are compared by their bytes")
	}
}

func TestRunFromEnv(t *testing.T) {
	env := map[string]string{"GITHUB_SERVER_URL": "https://gitea.example.org", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"}
	get := func(name string) string { return env[name] }
	if r := RunFromEnv(get); r.InvocationID != "https://gitea.example.org/a/b/actions/runs/7" {
		t.Errorf("run %+v", r)
	}
	env["GITHUB_RUN_ATTEMPT"] = "2"
	if r := RunFromEnv(get); r.InvocationID != "https://gitea.example.org/a/b/actions/runs/7/attempts/2" {
		t.Errorf("run %+v", r)
	}
	delete(env, "GITHUB_RUN_ID")
	if r := RunFromEnv(get); r != (Run{}) {
		t.Errorf("run %+v", r)
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:1": true, "127.9.9.9": true, "[::1]:5000": true,
		"registry.example.com": false, "localhost.example.com": false, "10.0.0.1:5000": false, "127.0.0.1.example.com": false,
	} {
		if isLoopback(host) != want {
			t.Errorf("%s: %v", host, !want)
		}
	}
}

func TestCredentialsComeFromDockersFile(t *testing.T) {
	var seen string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("Authorization")
		if seen == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	config := filepath.Join(t.TempDir(), "config.json")
	raw, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"auth": "dXNlcjpwYXNz"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(t.Context(), Access{DockerConfig: config}, host+"/a/b:c"); fault.ClassOf(err) != fault.Remote {
		t.Errorf("error %v", err)
	}
	if seen != "Basic dXNlcjpwYXNz" {
		t.Errorf("credentials %q", seen)
	}
	if got := DockerConfigPath(func(n string) string { return map[string]string{"HOME": "/h"}[n] }); got != "/h/.docker/config.json" {
		t.Errorf("path %q", got)
	}
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte(`{"_type":"x","subject":[{"name":"n","digest":{"sha256":"00"}}],"predicateType":"t","predicate":{"runDetails":{"metadata":{}}}}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}]}`))
	f.Add([]byte(`{"schema_version":1,"publications":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := parseStatement(raw); err == nil && s.PredicateType == "" {
			t.Error("a statement without a type")
		}
		sameStatement(raw, append(bytes.Clone(raw), ' '))
		if d, err := parseLayoutIndex(raw); err == nil && !filepath.IsLocal(blobPath(".", d.Digest)) {
			t.Errorf("digest %q leads out of the layout", d.Digest)
		}
		if p, err := parsePublications(raw); err == nil && p.SchemaVersion != publicationVersion {
			t.Error("another version")
		}
	})
}

func FuzzPatterns(f *testing.F) {
	f.Add(`https://gitea\.example\.org/[^]a.]\Q.\E.*`)
	f.Fuzz(func(t *testing.T, pattern string) {
		if _, err := checkPattern("identity", pattern); err != nil && fault.ClassOf(err) != fault.Input {
			t.Errorf("error %v", err)
		}
	})
}
