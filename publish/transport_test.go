package publish

import (
	"context"
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

func TestRetryAfterIsHonoured(t *testing.T) {
	const date = "Sun, 22 Nov 2026 10:00:00 GMT"
	for after, want := range map[string]time.Duration{
		"7": 7 * time.Second, "299": 299 * time.Second, "-5": 0, "soon": 0, "Sun, 22 Nov 2026 10:01:30 GMT": 90 * time.Second, "Sat, 21 Nov 2026 10:00:00 GMT": 0,
	} {
		resp := &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {after}, "Date": {date}}}
		if d := backoff(time.Millisecond, 1, resp); d < want || d > want+time.Millisecond || !worthRetry(resp, nil) {
			t.Errorf("%q: waits %v, want %v", after, d, want)
		}
	}
	for _, after := range []string{"301", "100000", "Sun, 22 Nov 2026 12:00:00 GMT"} {
		resp := &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {after}, "Date": {date}}}
		if worthRetry(resp, nil) {
			t.Errorf("%q: waits", after)
		}
	}
	if d := backoff(time.Second, 20, nil); d > longestWait {
		t.Errorf("waits %v", d)
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
