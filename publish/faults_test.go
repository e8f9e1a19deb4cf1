package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
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

// faulty is a bad way to a registry: it loses requests and answers, cuts and
// damages them, answers in the registry's place, and takes bodies up to a limit.
type faulty struct {
	mu      sync.Mutex
	rand    *rand.Rand
	odds    float64 // of a fault, per request
	limit   int64   // bytes of a body; 0 for none
	sent    int64   // bytes of blobs that went through
	refused int     // bodies over the limit
	stop    int     // requests after which nothing goes through; 0 for never
	did     map[string]int
}

// change is what a fault does to a request and to its answer; either may be nil,
// and a request that becomes nil is not sent.
type change struct {
	name    string
	request func(f *faulty, req *http.Request, where float64) (*http.Request, *http.Response, error)
	answer  func(resp *http.Response, where float64) (*http.Response, error)
}

// changes are all faults.
func changes() []change {
	return []change{
		{name: "request lost", request: func(*faulty, *http.Request, float64) (*http.Request, *http.Response, error) {
			return nil, nil, syscall.ECONNRESET
		}},
		{name: "429", request: refuseWith(http.StatusTooManyRequests)},
		{name: "500", request: refuseWith(http.StatusInternalServerError)},
		{name: "503", request: refuseWith(http.StatusServiceUnavailable)},
		{name: "request cut", request: edited(func(b []byte, where float64) io.Reader {
			return io.MultiReader(bytes.NewReader(b[:int(where*float64(len(b)))]), broken{})
		})},
		{name: "request damaged", request: edited(func(b []byte, where float64) io.Reader {
			if len(b) > 0 {
				b[int(where*float64(len(b)))] ^= 0x10
			}
			return bytes.NewReader(b)
		})},
		{name: "request slow", request: func(_ *faulty, req *http.Request, where float64) (*http.Request, *http.Response, error) {
			time.Sleep(time.Duration(where * float64(5*time.Millisecond)))
			return req, nil, nil
		}},
		{name: "answer lost", answer: func(resp *http.Response, _ float64) (*http.Response, error) {
			resp.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}},
		{name: "answer replaced", answer: func(resp *http.Response, _ float64) (*http.Response, error) {
			resp.Body.Close()
			return (&faulty{}).refuse(resp.Request, http.StatusBadGateway), nil
		}},
		{name: "answer cut", answer: func(resp *http.Response, where float64) (*http.Response, error) {
			resp.Body = readCloser{io.MultiReader(io.LimitReader(resp.Body, int64(where*50)), broken{}), resp.Body}
			return resp, nil
		}},
		{name: "answer truncated", answer: func(resp *http.Response, where float64) (*http.Response, error) {
			resp.Body = readCloser{io.LimitReader(resp.Body, int64(where*float64(max(resp.ContentLength, 1)))), resp.Body}
			return resp, nil
		}},
		{name: "answer damaged", answer: func(resp *http.Response, where float64) (*http.Response, error) {
			resp.Body = readCloser{&damaged{r: resp.Body, at: int(where * float64(max(resp.ContentLength, 1)))}, resp.Body}
			return resp, nil
		}},
		{name: "answer slow", answer: func(resp *http.Response, where float64) (*http.Response, error) {
			time.Sleep(time.Duration(where * float64(5*time.Millisecond)))
			return resp, nil
		}},
	}
}

func refuseWith(status int) func(*faulty, *http.Request, float64) (*http.Request, *http.Response, error) {
	return func(f *faulty, req *http.Request, _ float64) (*http.Request, *http.Response, error) {
		return nil, f.refuse(req, status), nil
	}
}

func edited(edit func(b []byte, where float64) io.Reader) func(*faulty, *http.Request, float64) (*http.Request, *http.Response, error) {
	return func(f *faulty, req *http.Request, where float64) (*http.Request, *http.Response, error) {
		return f.edit(req, func(b []byte) io.Reader { return edit(b, where) }), nil, nil
	}
}

type readCloser struct {
	io.Reader
	io.Closer
}

// damaged changes a byte of what is read.
type damaged struct {
	r  io.Reader
	at int
}

func (d *damaged) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if d.at >= 0 && d.at < n {
		p[d.at] ^= 0x10
	}
	d.at -= n
	return n, err
}

// pick chooses a fault, or none.
func (f *faulty) pick() (change, float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop--; f.stop == 0 {
		f.stop++
		return change{request: func(*faulty, *http.Request, float64) (*http.Request, *http.Response, error) {
			return nil, nil, errGone
		}}, 0
	}
	if f.odds == 0 || f.rand.Float64() >= f.odds {
		return change{}, 0
	}
	all := changes()
	c := all[f.rand.IntN(len(all))]
	if f.did != nil {
		f.did[c.name]++
	}
	return c, f.rand.Float64()
}

func (f *faulty) RoundTrip(req *http.Request) (*http.Response, error) {
	if f.limit > 0 && req.ContentLength > f.limit {
		f.mu.Lock()
		f.refused++
		f.mu.Unlock()
		return f.refuse(req, http.StatusRequestEntityTooLarge), nil
	}
	fault, where := f.pick()
	if fault.request != nil {
		changed, resp, err := fault.request(f, req, where)
		if changed == nil {
			return resp, err
		}
		req = changed
	}
	if strings.Contains(req.URL.Path, "/blobs/") {
		f.mu.Lock()
		f.sent += max(req.ContentLength, 0)
		f.mu.Unlock()
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err == nil && fault.answer != nil {
		return fault.answer(resp, where)
	}
	return resp, err
}

var errGone = errors.New("the network is gone")

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

var faultRuns = flag.Int("faults", 240, "runs of TestFaults")

// TestFaults pushes over a bad network, hundreds of times: it succeeds, or fails
// with an error of class Remote, and then the next push over a good one
// completes it and sends what is missing only. What a registry says it has is
// right in any case. A run is repeated by its name: the seed decides all of it.
func TestFaults(t *testing.T) {
	s := startRegistry(t)
	failed, did := 0, map[string]int{}
	for seed := range uint64(*faultRuns) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			if testFaults(t, s, seed, did) != nil {
				failed++
			}
		})
	}
	t.Logf("%d of %d pushes failed at first; faults: %v", failed, *faultRuns, did)
	if *faultRuns < 200 {
		return
	}
	if failed == 0 || failed > *faultRuns*9/10 {
		t.Errorf("%d of %d pushes failed: the faults are of no use", failed, *faultRuns)
	}
	for _, c := range changes() {
		if did[c.name] < 10 {
			t.Errorf("%q happened %d times", c.name, did[c.name])
		}
	}
}

// testFaults returns how the push over the bad network ended.
func testFaults(t *testing.T, s *localstack.Stack, seed uint64, did map[string]int) error {
	r := rand.New(rand.NewPCG(seed, 7))
	dir, repository := t.TempDir(), fmt.Sprintf("acme/run%d", seed)
	var files []file
	var contents [][]byte
	for i := range 1 + r.IntN(3) {
		f, data := testFile(t, dir, fmt.Sprint("file", i), 1+r.IntN(20<<10), r)
		files, contents = append(files, f), append(contents, data)
	}
	push := func(via http.RoundTripper) error {
		p := testPusher(t, s, dir, repository, faultChunk, via)
		p.jobs = 1 // else the order of requests is a matter of chance
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
	via := &faulty{rand: r, odds: 0.02 + 0.7*r.Float64(), did: map[string]int{}}
	if r.IntN(2) == 0 {
		via.stop = 2 + r.IntN(40)
	}
	if r.IntN(3) == 0 {
		via.limit = int64(600 + r.IntN(6<<10))
	}
	err := push(via)
	for name, n := range via.did {
		did[name] += n
	}
	if err != nil {
		if fault.ClassOf(err) != fault.Remote {
			t.Errorf("error %v of class %v, want Remote", err, fault.ClassOf(err))
		}
		missing := int64(len(ocispec.DescriptorEmptyJSON.Data))
		for _, f := range files {
			missing += lacking(t, s, dir, repository, f)
			if via.did["request damaged"] > 0 && stored(t, s, repository, f) == nil {
				missing += f.size // what the registry has may be damaged, which shows at the end
			}
		}
		good := &faulty{}
		if again := push(good); again != nil {
			t.Fatalf("the second push: %v after %v", again, err)
		}
		if good.sent > missing {
			t.Errorf("the second push sent %d bytes, %d were missing: after %v", good.sent, missing, err)
		}
	}
	for i, f := range files {
		if !bytes.Equal(stored(t, s, repository, f), contents[i]) {
			t.Errorf("%s is not what was sent", f.title)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, uploadsFolder)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left %v, %v", left, err)
	}
	return err
}

const faultChunk = 4 << 10 // bytes

// lacking returns how many bytes of a file the registry does not have, in the
// blob or in an upload that a state file knows.
func lacking(t *testing.T, s *localstack.Stack, dir, repository string, f file) int64 {
	t.Helper()
	if stored(t, s, repository, f) != nil {
		return 0
	}
	state := newStateFile(dir, s.Registry+"/"+repository, f.sha256).read()
	if state.Location == "" {
		return f.size
	}
	resp, err := http.Get(state.Location)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	end, ok := rangeEnd(resp.Header.Get("Range"))
	if resp.StatusCode != http.StatusNoContent || !ok {
		return f.size
	}
	return f.size - end
}
