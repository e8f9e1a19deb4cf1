package publish

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
)

// TestResumeInAnotherProcess stops an upload in the middle, as kill -9 does, and
// lets a new pusher go on: it sends a piece twice at most.
func TestResumeInAnotherProcess(t *testing.T) {
	s := startRegistry(t)
	dir := t.TempDir()
	const size, chunk = 100_000, 8 << 10
	f, data := testFile(t, dir, "image", size, rand.New(rand.NewPCG(1, 2)))
	for _, stop := range []int64{1, 3, 11} {
		repository := "acme/stopped" + string(rune('a'+stop))
		f, data := f, data
		f.sha256, data = changeByte(t, f, data, byte(stop))
		ctx, cancel := context.WithCancel(t.Context())
		var patches atomic.Int64
		dying := roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodPatch && patches.Add(1) > stop {
				cancel()
				return nil, context.Canceled
			}
			return http.DefaultTransport.RoundTrip(req)
		})
		if err := testPusher(t, s, dir, repository, chunk, dying).blobs(ctx, []file{f}); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v, want a cancelled push", err)
		}
		second := &faulty{rand: rand.New(rand.NewPCG(1, 2))}
		if err := testPusher(t, s, dir, repository, chunk, second).blobs(t.Context(), []file{f}); err != nil {
			t.Fatal(err)
		}
		t.Logf("stopped after %d pieces of %d bytes: the second push sent %d of %d bytes", stop, chunk, second.sent, size)
		if second.sent > size-(stop-1)*chunk || string(stored(t, s, repository, f)) != string(data) {
			t.Errorf("the second push sent %d bytes", second.sent)
		}
	}
}

func changeByte(t *testing.T, f file, data []byte, b byte) (string, []byte) {
	t.Helper()
	data[0] = b
	if err := os.WriteFile(f.path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	sum, err := hashFile(t.Context(), f.path)
	if err != nil {
		t.Fatal(err)
	}
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range sum {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String(), data
}

// TestUploadStateOfStrangers sends no credentials where a state file points.
func TestUploadStateOfStrangers(t *testing.T) {
	s := startRegistry(t)
	dir := t.TempDir()
	f, _ := testFile(t, dir, "image", 50_000, rand.New(rand.NewPCG(3, 4)))
	for _, state := range []string{
		`{"location":"http://stranger.invalid/v2/x/blobs/uploads/1","offset":8192}`, `{"location":"` + s.URL + `/v2/acme/x/blobs/uploads/none","offset":5}`,
		`{"location":"%zz"}`, `nonsense`, `{"location":"x","offset":-1}`,
	} {
		keep := newStateFile(dir, s.Registry+"/acme/x", f.sha256)
		if err := os.MkdirAll(filepath.Dir(keep.path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(keep.path, []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := testPusher(t, s, dir, "acme/x", 8<<10, http.DefaultTransport).transfer(t.Context(), f, "image"); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
}

func TestUploadsFailClearly(t *testing.T) {
	s := startRegistry(t)
	dir := t.TempDir()
	f, _ := testFile(t, dir, "image", 50_000, rand.New(rand.NewPCG(5, 6)))
	for status, want := range map[int]string{
		http.StatusUnauthorized: "log in", http.StatusForbidden: "quota", http.StatusRequestEntityTooLarge: "proxy (nginx)",
		http.StatusTooManyRequests: "later", http.StatusInsufficientStorage: "507",
	} {
		way := &faulty{}
		refusing := roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodPatch {
				return way.refuse(req, status), nil
			}
			return http.DefaultTransport.RoundTrip(req)
		})
		err := testPusher(t, s, dir, "acme/x", 8<<10, refusing).blobs(t.Context(), []file{f})
		var e *fault.Error
		if !errors.As(err, &e) || e.Class != fault.Remote || !strings.Contains(err.Error()+e.Fix, want) {
			t.Errorf("%d: error %v, want one with %q", status, err, want)
		}
	}
	f.sha256 = strings.Repeat("0", 64)
	err := testPusher(t, s, dir, "acme/y", 8<<10, http.DefaultTransport).blobs(t.Context(), []file{f})
	if fault.ClassOf(err) != fault.Input || stored(t, s, "acme/y", f) != nil {
		t.Errorf("error %v, want one of class Input", err)
	}
}

func FuzzUploadAnswers(f *testing.F) {
	f.Add("0-5", []byte(`{"location":"x","offset":3}`))
	f.Add("bytes=0-0", []byte(`{}`))
	f.Add("0--1", []byte(`{"offset":-1}`))
	f.Fuzz(func(t *testing.T, header string, state []byte) {
		if n, ok := rangeEnd(header); ok && n < 0 {
			t.Errorf("%q: %d", header, n)
		}
		if parseUploadState(state).Offset < 0 {
			t.Errorf("%q: negative", state)
		}
	})
}
