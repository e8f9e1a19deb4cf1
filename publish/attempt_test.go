package publish_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// failingFrom is a transport to the signing services on which, from the n-th
// request to a path on, one of them is down.
func failingFrom(path string, n int32, fail func(*http.Request) (*http.Response, error)) http.RoundTripper {
	var seen atomic.Int32
	return roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if strings.HasPrefix(req.URL.Path, path) && seen.Add(1) >= n {
			return fail(req)
		}
		return http.DefaultTransport.RoundTrip(req)
	})
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestResumeSigning takes each signing service down at its first and at later
// requests. What was pushed stays; resuming sends no file and signs what lacks
// signatures, once.
func TestResumeSigning(t *testing.T) {
	s := startStack(t, localstack.Config{})
	refusedConn := func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }
	closed := func(*http.Request) (*http.Response, error) {
		return answer(http.StatusForbidden, "closed for the day"), nil
	}
	for _, c := range []struct {
		service string
		path    string
		from    int32
		fail    func(*http.Request) (*http.Response, error)
		says    string
	}{
		{"CA", "/fulcio/", 1, closed, "closed for the day"},
		{"CA unreachable", "/fulcio/", 1, refusedConn, "connection refused"},
		{"TSA", "/tsa/", 1, closed, "closed for the day"},
		{"TSA after the disk's bundles", "/tsa/", 3, closed, "closed for the day"},
		{"TSA in the middle", "/tsa/", 9, refusedConn, "connection refused"},
		{"log", "/rekor/", 1, closed, "closed for the day"},
		{"log in the middle", "/rekor/", 7, refusedConn, "connection refused"},
		{"log at the index", "/rekor/", 11, closed, "closed for the day"},
	} {
		t.Run(c.service, func(t *testing.T) {
			t.Parallel()
			o := options(t, s)
			o.Repository += "/" + strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(c.service, " ", "-"), "'", ""))
			dir := writeBuild(t, []string{"amd64"}, "raw", "iso")
			good := o.Signer
			o.Signer = keySigner(t, publish.SignerOptions{
				SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath, Token: s.IssueToken, Transport: failingFrom(c.path, c.from, c.fail),
			})
			_, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, o)
			if fault.ClassOf(err) != fault.Remote || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "publish --resume") {
				t.Fatalf("error %v, want one of class Remote with %q that names --resume", err, c.says)
			}
			repo := o.Repository + "/debian-13-server"
			if _, err := publish.Resolve(t.Context(), o.Access, repo+":"+gitSHA+"-amd64-iso"); err != nil {
				t.Errorf("what was pushed did not stay: %v", err)
			}
			if _, err := publish.Resolve(t.Context(), o.Access, repo+":"+gitSHA); err == nil {
				t.Error("the index has its tag though not everything is signed")
			}

			begun, err := publish.ReadAttempt(dir)
			if err != nil {
				t.Fatal(err)
			}
			files := &pushedFiles{}
			o.Signer, o.Resume, o.Repository, o.Progress = good, true, begun.Repository, files.note
			pubs, err := publish.Publish(t.Context(), publish.Build{Dir: dir, Arches: begun.Arches()}, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(files.names) > 0 {
				t.Errorf("resuming sent %q again", files.names)
			}
			for _, p := range pubs.Publications {
				if _, err := publish.Verify(t.Context(), o.Access, p.OCIRef, policy(s)); err != nil {
					t.Error(err)
				}
				if n := referrers(t, s, pubs.Repository, p.OCIDigest); n != 5 {
					t.Errorf("%s has %d referrers, want 5", p.Family, n)
				}
			}
		})
	}
}

// pushedFiles notes which files are sent.
type pushedFiles struct {
	mu    sync.Mutex
	names []string
}

func (p *pushedFiles) note(e publish.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == publish.Pushed && e.Total > 0 {
		p.names = append(p.names, e.Name)
	}
}

func referrers(t *testing.T, s *localstack.Stack, repository, digest string) int {
	t.Helper()
	_, path, _ := strings.Cut(repository, "/")
	var list ocispec.Index
	fetch(t, s.URL+"/v2/"+path+"/referrers/"+digest, &list)
	return len(list.Manifests)
}

func TestResumeRefusesAnotherBuild(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64", "arm64"}, "iso")
	o := options(t, s)
	o.Resume = true
	wantInput := func(what, says string) {
		t.Helper()
		_, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, o)
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one of class Input with %q", what, err, says)
		}
	}
	wantInput("nothing begun", "none was begun")
	o.Resume = false
	first := publishBuild(t, dir, o)
	o.Resume = true
	again := &spy{}
	o.Access.Transport = again
	if second := publishBuild(t, dir, o); second.Index != first.Index || len(again.puts) != 0 {
		t.Errorf("resuming what is complete sent %q, index %v after %v", again.puts, second.Index, first.Index)
	}
	repository := o.Repository
	o.Repository += "/elsewhere"
	wantInput("another repository", "not to")
	o.Repository = repository
	path := filepath.Join(dir, "arm64", manifest.FileName)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, path, append(raw, '\n'))
	wantInput("another build", "arm64 build has changed")
	for _, bad := range []string{"", "nonsense", `{"schema_version":1}`, `{"schema_version":9,"repository":"r","builds":{"amd64":"0"}}`} {
		writeTestFile(t, filepath.Join(dir, ".publish.json"), []byte(bad))
		wantInput("a damaged record", ".publish.json")
	}
}

// TestTokensAreRefreshed signs twelve artifacts while the clock goes on by a
// minute with each signature: certificates run out again and again, and each new
// one needs a new token, since tokens live for a second only.
func TestTokensAreRefreshed(t *testing.T) {
	s := startStack(t, localstack.Config{})
	var later atomic.Int64
	var mu sync.Mutex
	tokens := map[string]int{}
	watch := roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if strings.HasPrefix(req.URL.Path, "/fulcio/") {
			mu.Lock()
			tokens[req.Header.Get("Authorization")]++
			mu.Unlock()
		}
		return http.DefaultTransport.RoundTrip(req)
	})
	o := options(t, s)
	o.Signer = keySigner(t, publish.SignerOptions{
		SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath, Transport: watch,
		Token: func(ctx context.Context) (string, error) {
			return s.Token(ctx, localstack.TokenRequest{Lifetime: time.Second})
		},
		Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
	})
	o.Progress = func(e publish.Event) {
		if e.Kind == publish.Signed {
			later.Add(int64(time.Minute))
		}
	}
	pubs := publishBuild(t, writeBuild(t, []string{"amd64", "arm64"}, allFamilies()...), o)
	signed := int(later.Load() / int64(time.Minute))
	// A certificate serves for seven minutes, but several signatures are under way
	// at once.
	if len(tokens) < 3 {
		t.Errorf("%d tokens for %d signatures", len(tokens), signed)
	}
	t.Logf("%d signatures with %d tokens", signed, len(tokens))
	for token, n := range tokens {
		if n > 1 {
			t.Errorf("a token was used %d times: %.20s", n, fmt.Sprintf("%x", token))
		}
	}
	for _, p := range pubs.Publications {
		if _, err := publish.Verify(t.Context(), publish.Access{}, p.OCIRef, policy(s)); err != nil {
			t.Errorf("%s %s: %v", p.Arch, p.Family, err)
		}
	}
}
