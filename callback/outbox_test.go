package callback

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFlushResendsTheSameMessage(t *testing.T) {
	s, p, _ := start(t, reply(503, ""))
	s.MaxAttempts = 1
	older := example()
	older.BuiltAt = older.BuiltAt.Add(-time.Hour)
	for _, e := range []Event{example(), older} {
		if _, err := s.Send(t.Context(), e); err == nil {
			t.Fatal("delivered")
		}
	}
	p.answers = []http.HandlerFunc{reply(200, taken)}
	sent, err := s.Flush(t.Context())
	if err != nil || len(sent) != 2 || sent[0].Event != older || sent[1].Event != example() {
		t.Fatalf("%+v, %v", sent, err)
	}
	if p.bodies[3] != p.bodies[0] || p.headers[3].Get(HeaderID) != p.headers[0].Get(HeaderID) {
		t.Error("the resend is another message")
	}
	if sent, err := s.Flush(t.Context()); err != nil || len(sent) != 0 {
		t.Errorf("%v, %v", sent, err)
	}
	if files, _ := os.ReadDir(s.Outbox); len(files) != 0 {
		t.Errorf("left over: %v", files)
	}
}

func TestFlushGoesPastRefusalsButNotOutages(t *testing.T) {
	s, p, _ := start(t, reply(503, ""))
	s.MaxAttempts = 1
	for i := range 3 {
		e := example()
		e.BuiltAt = e.BuiltAt.Add(time.Duration(i) * time.Hour)
		_, _ = s.Send(t.Context(), e)
	}
	if sent, err := s.Flush(t.Context()); err == nil || len(sent) != 0 || p.count() != 4 {
		t.Errorf("outage: %d calls, sent %v, error %v", p.count(), sent, err)
	}
	p.answers = []http.HandlerFunc{reply(200, `{"success":true,"status":"error","reason":"invalid_payload"}`), reply(200, taken)}
	sent, err := s.Flush(t.Context())
	var e *Error
	if len(sent) != 2 || !errors.As(err, &e) || e.Reason != "invalid_payload" {
		t.Errorf("refusal: sent %v, error %v", sent, err)
	}
	if pending, _ := s.Pending(); len(pending) != 1 {
		t.Errorf("pending %v", pending)
	}
}

func TestFlushKeepsToWholeFiles(t *testing.T) {
	s, p, _ := start(t, reply(200, taken))
	s.Now = time.Now
	body, _ := example().Encode()
	name, err := store(s.Outbox, body)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) string {
		path := filepath.Join(s.Outbox, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := write(tempPrefix+"1", string(body[:10]))
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*staleTemp)); err != nil {
		t.Fatal(err)
	}
	fresh := write(tempPrefix+"2", string(body[:10]))
	changed := write("msg_"+digest+".json", string(body))
	write("README", "not an event")
	sent, err := s.Flush(t.Context())
	if len(sent) != 1 || sent[0].File != name || p.count() != 1 {
		t.Errorf("sent %v", sent)
	}
	if err == nil || !strings.Contains(err.Error(), filepath.Base(changed)) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Error("a dead process's temporary file is still there")
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error("a living process's temporary file is gone")
	}
}

func TestFlushWithoutOutbox(t *testing.T) {
	s, _, _ := start(t, reply(200, taken))
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "absent")} {
		s.Outbox = dir
		if sent, err := s.Flush(t.Context()); err != nil || sent != nil {
			t.Errorf("%q: %v, %v", dir, sent, err)
		}
	}
}

// TestKilledSenderLosesNothing kills a process with SIGKILL in the middle of a
// delivery and looks at what it left.
func TestKilledSenderLosesNothing(t *testing.T) {
	if url := os.Getenv("BOOTSMITH_TEST_URL"); url != "" {
		s := &Sender{URL: url, Secret: rawSecret, Now: time.Now, Outbox: os.Getenv("BOOTSMITH_TEST_OUTBOX")}
		_, _ = s.Send(t.Context(), example())
		return
	}
	arrived, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		close(arrived)
		<-release
	}))
	defer server.Close()
	defer close(release)
	s, _, _ := start(t, reply(200, taken))
	child := exec.Command(os.Args[0], "-test.run=^TestKilledSenderLosesNothing$")
	child.Env = append(os.Environ(), "BOOTSMITH_TEST_URL="+server.URL, "BOOTSMITH_TEST_OUTBOX="+s.Outbox)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	<-arrived
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	files, err := os.ReadDir(s.Outbox)
	if err != nil || len(files) != 1 {
		t.Fatalf("outbox %v, %v", files, err)
	}
	data, _ := os.ReadFile(filepath.Join(s.Outbox, files[0].Name()))
	if strings.Contains(string(data), rawSecret) {
		t.Error("the outbox holds the secret")
	}
	sent, err := s.Flush(t.Context())
	if err != nil || len(sent) != 1 || sent[0].Event != example() {
		t.Errorf("%v, %v", sent, err)
	}
}
