package publish

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// uploadVariable makes the test binary a process that sends a file: registry,
// repository, folder, name, digest.
const uploadVariable = "BOOTSMITH_TEST_UPLOAD"

const (
	killedSize  = 400_000 // bytes of the file
	killedChunk = 16 << 10
)

func TestUploadProcess(t *testing.T) {
	words := strings.Fields(os.Getenv(uploadVariable))
	if len(words) == 0 {
		return // it is a test only of TestKilledUpload's
	}
	repo, err := Access{}.repository(words[0] + "/" + words[1])
	if err != nil {
		t.Fatal(err)
	}
	f := file{path: words[2] + "/" + words[3], sha256: words[4], size: killedSize}
	if err := newPusher(repo, words[2], Options{ChunkSize: killedChunk}).blobs(t.Context(), []file{f}); err != nil {
		t.Fatal(err)
	}
}

// slowCounter is a way to a registry that counts the bytes of blobs.
type slowCounter struct {
	registry http.Handler
	bytes    atomic.Int64
	// at calls reached when so many bytes have passed.
	at      atomic.Int64
	reached chan struct{}
}

func (s *slowCounter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = &countedBody{r.Body, s}
	s.registry.ServeHTTP(w, r)
}

type countedBody struct {
	io.ReadCloser
	s *slowCounter
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p[:min(len(p), 2<<10)])
	now := c.s.bytes.Add(int64(n))
	if at := c.s.at.Load(); at > 0 && now >= at && c.s.at.CompareAndSwap(at, 0) {
		c.s.reached <- struct{}{}
		time.Sleep(20 * time.Millisecond) // the process dies in here
	}
	return n, err
}

// TestKilledUpload kills a process that sends a file with SIGKILL, anywhere in a
// piece, again and again: each time a piece at most is sent twice.
func TestKilledUpload(t *testing.T) {
	s := startRegistry(t)
	way := &slowCounter{reached: make(chan struct{}, 1)}
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	way.registry = &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(way)
	defer server.Close()
	dir, r := t.TempDir(), rand.New(rand.NewPCG(8, 9))
	f, data := testFile(t, dir, "image", killedSize, r)
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUploadProcess$")
		cmd.Env = append(os.Environ(), uploadVariable+"="+strings.Join([]string{strings.TrimPrefix(server.URL, "http://"), "acme/killed", dir, "image", f.sha256}, " "))
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	const kills = 6
	for i := range kills {
		way.at.Store(way.bytes.Load() + int64(20_000+r.IntN(40_000)))
		cmd := start()
		<-way.reached
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("process %d: %v, want it killed", i, err)
		}
		if stored(t, s, "acme/killed", f) != nil {
			t.Fatal("the file is complete")
		}
	}
	if err := start().Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, killed %d times: %d bytes sent", killedSize, kills, way.bytes.Load())
	if sent := way.bytes.Load(); sent > killedSize+kills*killedChunk {
		t.Errorf("%d bytes were sent for %d, with %d kills", sent, killedSize, kills)
	}
	if string(stored(t, s, "acme/killed", f)) != string(data) {
		t.Error("the file is not what was sent")
	}
}
