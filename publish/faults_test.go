package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish/localstack"
)

// faulty is a bad way to a registry: it loses requests and answers, cuts them,
// damages them, answers in the registry's place, and takes bodies up to a limit.
type faulty struct {
	mu      sync.Mutex
	rand    *rand.Rand
	odds    float64 // of a fault, per request
	limit   int64   // bytes of a body; 0 for none
	sent    int64   // bytes of blobs that went through
	refused int     // bodies over the limit
}

func (f *faulty) pick() (kind int, where float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rand.Float64() >= f.odds {
		return -1, 0
	}
	return f.rand.IntN(8), f.rand.Float64()
}

func (f *faulty) RoundTrip(req *http.Request) (*http.Response, error) {
	if f.limit > 0 && req.ContentLength > f.limit {
		f.mu.Lock()
		f.refused++
		f.mu.Unlock()
		return f.refuse(req, http.StatusRequestEntityTooLarge), nil
	}
	kind, where := f.pick()
	var damage func(resp *http.Response, err error) (*http.Response, error)
	switch kind {
	case 0: // the request is lost
		return nil, syscall.ECONNRESET
	case 1: // the answer is lost
		damage = func(resp *http.Response, err error) (*http.Response, error) {
			if err == nil {
				resp.Body.Close()
			}
			return nil, io.ErrUnexpectedEOF
		}
	case 2, 3:
		return f.refuse(req, []int{http.StatusTooManyRequests, http.StatusInternalServerError}[kind-2]), nil
	case 4: // the body is cut
		req = f.edit(req, func(b []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(b[:int(where*float64(len(b)))]), broken{})
		})
	case 5: // the body is damaged
		req = f.edit(req, func(b []byte) io.Reader {
			if len(b) > 0 {
				b[int(where*float64(len(b)))] ^= 0x10
			}
			return bytes.NewReader(b)
		})
	case 6: // the answer is cut
		damage = func(resp *http.Response, err error) (*http.Response, error) {
			if err == nil {
				resp.Body = struct {
					io.Reader
					io.Closer
				}{io.MultiReader(io.LimitReader(resp.Body, int64(where*50)), broken{}), resp.Body}
			}
			return resp, err
		}
	case 7: // slow
		time.Sleep(time.Duration(where * float64(5*time.Millisecond)))
	}
	if strings.Contains(req.URL.Path, "/blobs/") {
		f.mu.Lock()
		f.sent += max(req.ContentLength, 0)
		f.mu.Unlock()
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if damage != nil {
		return damage(resp, err)
	}
	return resp, err
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, syscall.ECONNRESET }

func (f *faulty) refuse(req *http.Request, status int) *http.Response {
	if req.Body != nil {
		req.Body.Close()
	}
	return &http.Response{
		StatusCode: status, Status: strconv.Itoa(status), ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Server": {"nginx"}}, Body: io.NopCloser(strings.NewReader("<html>")), ContentLength: 6,
	}
}

func (f *faulty) edit(req *http.Request, change func([]byte) io.Reader) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return req
	}
	req = req.Clone(req.Context())
	req.Body, req.GetBody = io.NopCloser(change(body)), nil
	return req
}

func startRegistry(t *testing.T) *localstack.Stack {
	t.Helper()
	s, err := localstack.Start(t.Context(), localstack.Config{Dir: filepath.Join(t.TempDir(), "stack")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func testPusher(t *testing.T, s *localstack.Stack, dir, repository string, chunk int64, via http.RoundTripper) *pusher {
	t.Helper()
	a := Access{Transport: via, Wait: 100 * time.Microsecond}
	repo, err := a.repository(s.Registry + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	return newPusher(repo, dir, Options{Access: a, ChunkSize: chunk})
}

// testFile writes random bytes.
func testFile(t *testing.T, dir, name string, size int, r *rand.Rand) (file, []byte) {
	t.Helper()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	sum := sha256.Sum256(data)
	f := file{title: name, path: filepath.Join(dir, name), mediaType: "application/octet-stream", sha256: hex.EncodeToString(sum[:]), size: int64(size)}
	if err := os.WriteFile(f.path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return f, data
}

func stored(t *testing.T, s *localstack.Stack, repository string, f file) []byte {
	t.Helper()
	resp, err := http.Get(s.URL + "/v2/" + repository + "/blobs/sha256:" + f.sha256)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil
	}
	return data
}

// TestFaults pushes over a bad network, hundreds of times: it succeeds, or fails
// with an error of class Remote, and then the next push over a good one
// completes it. What a registry says it has is right in any case.
func TestFaults(t *testing.T) {
	s := startRegistry(t)
	const runs = 200
	failed := 0
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 7))
		dir, repository := t.TempDir(), fmt.Sprintf("acme/run%d", seed)
		var files []file
		var contents [][]byte
		for i := range 1 + r.IntN(3) {
			f, data := testFile(t, dir, fmt.Sprint("file", i), 1+r.IntN(20<<10), r)
			files, contents = append(files, f), append(contents, data)
		}
		push := func(via http.RoundTripper) error {
			p := testPusher(t, s, dir, repository, 4<<10, via)
			if _, err := p.bytes(t.Context(), ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data); err != nil {
				return err
			}
			if err := p.blobs(t.Context(), files); err != nil {
				return err
			}
			m, err := pack(ocispec.Manifest{ArtifactType: ArtifactType, Layers: []ocispec.Descriptor{files[0].descriptor()}})
			if err != nil {
				t.Fatal(err)
			}
			return p.manifest(t.Context(), m, "tag", "manifest")
		}
		via := &faulty{rand: r, odds: 0.02 + 0.33*r.Float64()}
		if r.IntN(3) == 0 {
			via.limit = int64(600 + r.IntN(6<<10))
		}
		err := push(via)
		if err != nil {
			failed++
			if fault.ClassOf(err) != fault.Remote {
				t.Fatalf("seed %d: error %v of class %v, want Remote", seed, err, fault.ClassOf(err))
			}
			if err := push(http.DefaultTransport); err != nil {
				t.Fatalf("seed %d: the second push: %v after %v", seed, err, err)
			}
		}
		for i, f := range files {
			if !bytes.Equal(stored(t, s, repository, f), contents[i]) {
				t.Fatalf("seed %d: %s is not what was sent", seed, f.title)
			}
		}
		if left, err := os.ReadDir(filepath.Join(dir, uploadsFolder)); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("seed %d: left %v, %v", seed, left, err)
		}
	}
	t.Logf("%d of %d pushes failed at first", failed, runs)
	if failed == 0 || failed > runs*9/10 {
		t.Errorf("%d of %d pushes failed: the faults are of no use", failed, runs)
	}
}
