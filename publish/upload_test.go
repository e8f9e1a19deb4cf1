package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
)

// TestSmallestPiece: a registry that wants pieces of a size at least gets none
// that is smaller but the last, in another process too.
func TestSmallestPiece(t *testing.T) {
	s := startRegistry(t)
	dir := t.TempDir()
	f, data := testFile(t, dir, "image", 100_000, rand.New(rand.NewPCG(1, 3)))
	const least = 9000
	var pieces []int64
	ctx, cancel := context.WithCancel(t.Context())
	way := roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPatch {
			if pieces = append(pieces, req.ContentLength); len(pieces) == 4 {
				cancel()
			}
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil && req.Method == http.MethodPost {
			resp.Header.Set("OCI-Chunk-Min-Length", fmt.Sprint(least))
		}
		return resp, err
	})
	if err := testPusher(t, s, dir, "acme/x", 4<<10, way).blobs(ctx, []file{f}); err == nil {
		t.Fatal("it was not stopped")
	}
	if err := testPusher(t, s, dir, "acme/x", 4<<10, way).blobs(t.Context(), []file{f}); err != nil {
		t.Fatal(err)
	}
	for i, n := range pieces {
		if n != least && i < len(pieces)-1 {
			t.Errorf("pieces of %d bytes", pieces)
			break
		}
	}
	if string(stored(t, s, "acme/x", f)) != string(data) {
		t.Error("the file is not what was sent")
	}
}

// TestPiecesShrink: a limit of a proxy is found and kept, for all files.
func TestPiecesShrink(t *testing.T) {
	s := startRegistry(t)
	for _, size := range []int{30_000, 200_000} { // sent at once, and in pieces
		dir := t.TempDir()
		a, _ := testFile(t, dir, "a", size, rand.New(rand.NewPCG(2, uint64(size))))
		b, _ := testFile(t, dir, "b", size, rand.New(rand.NewPCG(3, uint64(size))))
		way := &faulty{rand: rand.New(rand.NewPCG(1, 1)), limit: 9000}
		p := testPusher(t, s, dir, "acme/shrink", 64<<10, way)
		p.jobs = 1
		if err := p.blobs(t.Context(), []file{a, b}); err != nil {
			t.Fatal(err)
		}
		if way.refused > 4 || way.sent != int64(2*size) {
			t.Errorf("%d bytes: %d refusals, %d bytes sent", size, way.refused, way.sent)
		}
	}
}

// TestSpoiledUpload: a registry that answers 500 for ever after a piece was cut, as
// Gitea does, gets the file by another upload, in the same run and in the next.
func TestSpoiledUpload(t *testing.T) {
	s := startRegistry(t)
	dir := t.TempDir()
	for i, stop := range []bool{false, true} {
		f, data := testFile(t, dir, fmt.Sprint("image", i), 50_000, rand.New(rand.NewPCG(6, uint64(i))))
		var spoiled string
		uploads, pieces, gone := 0, 0, false
		way := roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodPost {
				uploads++
			}
			if req.Method == http.MethodPatch {
				if pieces++; pieces == 3 {
					spoiled, gone = req.URL.Path, stop
				}
				if req.URL.Path == spoiled && !gone {
					return (&faulty{}).refuse(req, http.StatusInternalServerError), nil
				}
			}
			if gone {
				return nil, errGone
			}
			return http.DefaultTransport.RoundTrip(req)
		})
		err := testPusher(t, s, dir, "acme/spoiled", 8<<10, way).blobs(t.Context(), []file{f})
		if stop {
			if gone = false; err == nil {
				t.Fatal("it was not stopped")
			}
			err = testPusher(t, s, dir, "acme/spoiled", 8<<10, way).blobs(t.Context(), []file{f})
		}
		if err != nil || uploads != 2 || string(stored(t, s, "acme/spoiled", f)) != string(data) {
			t.Errorf("stopped %v: %d uploads, error %v", stop, uploads, err)
		}
	}
}

// TestMount: what a sibling repository has is not sent.
func TestMount(t *testing.T) {
	server := httptest.NewServer(ociserver.New(ocimem.New(), nil))
	defer server.Close()
	dir, r := t.TempDir(), rand.New(rand.NewPCG(4, 4))
	small, _ := testFile(t, dir, "small", 2000, r)
	large, _ := testFile(t, dir, "large", 50_000, r)
	missing, _ := testFile(t, dir, "missing", 3000, r)
	push := func(repository, from string, files ...file) (sent int64, kinds map[Kind]int) {
		t.Helper()
		way := &faulty{rand: r}
		a := Access{Transport: way}
		repo, err := a.repository(strings.TrimPrefix(server.URL, "http://") + "/" + repository)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		kinds = map[Kind]int{}
		p := newPusher(repo, dir, Options{Access: a, ChunkSize: 16 << 10, MountFrom: from, Progress: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			kinds[e.Kind]++
		}})
		if err := p.blobs(t.Context(), files); err != nil {
			t.Fatal(err)
		}
		return way.sent, kinds
	}
	if sent, _ := push("acme/first", "", small, large); sent != 52_000 {
		t.Errorf("%d bytes sent", sent)
	}
	sent, kinds := push("acme/second", "acme/first", small, large, missing)
	if sent != 3000 || kinds[Mounted] != 2 || kinds[Pushed] != 1 {
		t.Errorf("%d bytes sent, %v", sent, kinds)
	}
	if sent, kinds := push("acme/third", "acme/none", missing); sent != 3000 || kinds[Pushed] != 1 {
		t.Errorf("%d bytes sent, %v", sent, kinds)
	}
}

// tokenRegistry asks for tokens that are good for a few requests only
// (distribution's token authentication).
type tokenRegistry struct {
	registry http.Handler
	url      string
	mu       sync.Mutex
	left     map[string]int // requests, by token
	issued   int
	told     int // passwords outside of the token service

	served, refused int // requests
}

func (s *tokenRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	name, password, basic := r.BasicAuth()
	if r.URL.Path == "/token" {
		defer s.mu.Unlock()
		if name != "builder" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.issued++
		token := fmt.Sprint("token", s.issued)
		s.left[token] = 7
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
		return
	}
	if basic {
		s.told++
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.left[token]--
	good := s.left[token] >= 0
	if good {
		s.served++
	} else {
		s.refused++
	}
	s.mu.Unlock()
	if !good {
		// The scope is Gitea's.
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.url+`/token",service="registry",scope="*"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.registry.ServeHTTP(w, r)
}

// TestTokensExpire: a push that is longer than a token's life gets new ones, in
// the middle of files too; whoever has the account's password.
func TestTokensExpire(t *testing.T) {
	s := startRegistry(t)
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	guard := &tokenRegistry{left: map[string]int{}, registry: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}}
	server := httptest.NewServer(guard)
	defer server.Close()
	guard.url = server.URL
	host := strings.TrimPrefix(server.URL, "http://")
	dir, r := t.TempDir(), rand.New(rand.NewPCG(5, 5))
	helper := filepath.Join(dir, "docker-credential-test")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\n[ \"$1\" = get ] && echo '{\"Username\":\"builder\",\"Secret\":\"secret\"}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	config := func(v any) Access {
		path := filepath.Join(t.TempDir(), "config.json")
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return Access{DockerConfig: path}
	}
	for i, a := range []Access{
		{Login: &Login{Host: host, Username: "builder", Password: "secret"}},
		config(map[string]any{"auths": map[string]any{host: map[string]string{"auth": "YnVpbGRlcjpzZWNyZXQ="}}}),
		config(map[string]any{"credHelpers": map[string]string{host: "test"}}),
		config(map[string]any{"credsStore": "test"}),
	} {
		var files []file
		var contents [][]byte
		for _, size := range []int{1000, 60_000, 90_000, 2000} {
			f, data := testFile(t, dir, fmt.Sprintf("file%d-%d", i, size), size, r)
			files, contents = append(files, f), append(contents, data)
		}
		repo, err := a.repository(host + "/acme/tokens")
		if err != nil {
			t.Fatal(err)
		}
		before, refused, jobs := guard.issued, guard.refused, 1
		if i == 0 {
			jobs = 4
		}
		if err := newPusher(repo, dir, Options{ChunkSize: 8 << 10, Jobs: jobs}).blobs(t.Context(), files); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		for j, f := range files {
			if string(stored(t, s, "acme/tokens", f)) != string(contents[j]) {
				t.Errorf("%d: %s is not what was sent", i, f.path)
			}
		}
		if guard.issued < before+3 {
			t.Errorf("%d: %d tokens", i, guard.issued-before)
		}
		// A request is refused when a token has ended (the client tries it twice),
		// and not every time.
		if n := guard.refused - refused; jobs == 1 && n > 2*(guard.issued-before) {
			t.Errorf("%d: %d requests were refused, %d tokens issued", i, n, guard.issued-before)
		}
	}
	t.Logf("%d requests were served, %d refused; %d tokens", guard.served, guard.refused, guard.issued)
	if guard.told > 0 {
		t.Errorf("the registry was told the password %d times", guard.told)
	}
}
