package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/powernode/bootsmith/callback"
)

func TestRefusals(t *testing.T) {
	b := newBench(t)
	other, err := b.service.CreatePlatform(t.Context(), "other", patterns())
	if err != nil {
		t.Fatal(err)
	}
	repository := "registry.example.com/acme/disk-images"
	if _, err := b.service.UpdatePlatform(t.Context(), b.platform.ID, PlatformChange{OCIRepository: &repository}); err != nil {
		t.Fatal(err)
	}
	encode := func(change func(*callback.Event)) []byte {
		e := event(1)
		if change != nil {
			change(&e)
		}
		body, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	good := encode(nil)
	resign := func(at time.Time) func(http.Header) {
		return func(h http.Header) {
			if err := callback.Sign(h, good, callback.MessageID(good), at, b.secret); err != nil {
				t.Fatal(err)
			}
		}
	}
	hook := byID + b.webhook.ID
	for _, c := range []struct {
		name, path string
		body       []byte
		secret     callback.Secret
		headers    func(http.Header)
		reason     string
	}{
		{"no such webhook", byID + "nobody", good, b.secret, nil, ReasonUnknownWebhook},
		{"no such webhook, garbage", byID + "nobody", []byte("{"), "x", nil, ReasonUnknownWebhook},
		{"wrong secret", hook, good, "another", nil, ReasonBadSignature},
		{"unsigned", hook, good, b.secret, func(h http.Header) { clear(h) }, ReasonBadSignature},
		{"signature before JSON", hook, []byte("{"), "another", nil, ReasonBadSignature},
		{"old", hook, good, b.secret, resign(testNow.Add(-6 * time.Minute)), ReasonStaleTimestamp},
		{"new", hook, good, b.secret, resign(testNow.Add(6 * time.Minute)), ReasonStaleTimestamp},
		{"not JSON", hook, []byte("{"), b.secret, nil, ReasonBadJSON},
		{"empty", hook, nil, b.secret, nil, ReasonBadJSON},
		{"not an object", hook, []byte("[]"), b.secret, nil, ReasonInvalidPayload},
		{"type", hook, []byte(`{"size_bytes":"1"}`), b.secret, nil, ReasonInvalidPayload},
		{"twice", hook, []byte(`{"arch":"a","arch":"b"}`), b.secret, nil, ReasonInvalidPayload},
		{"nobody's platform", hook, encode(func(e *callback.Event) { e.PlatformName = "nobody" }), b.secret, nil, ReasonUnknownPlatform},
		{"another's platform", hook, encode(func(e *callback.Event) { e.PlatformName = "other" }), b.secret, nil, ReasonPlatformMismatch},
		{"today's seven fields", hook, []byte(`{"platform_name":"debian-13-server","git_sha":"1","arch":"amd64"}`), b.secret, nil, ReasonInvalidPayload},
		{"name", hook, encode(func(e *callback.Event) { e.Arch = "../x" }), b.secret, nil, ReasonInvalidPayload},
		{"from the future", hook, encode(func(e *callback.Event) { e.BuiltAt = testNow.Add(25 * time.Hour) }), b.secret, nil, ReasonInvalidPayload},
		{"repository", hook, encode(func(e *callback.Event) {
			e.OCIRef, e.SBOMURL = "registry.example.com/acme/disk-images-evil@"+e.OCIDigest, ""
		}), b.secret, nil, ReasonRepository},
		{"too large", hook, bytes.Repeat([]byte(" "), callback.MaxBody+1), b.secret, nil, ReasonBodyTooLarge},
		{"by platform: not JSON", byPlatform, []byte("{"), b.secret, nil, ReasonBadJSON},
		{"by platform: nobody", byPlatform, encode(func(e *callback.Event) { e.PlatformName = "nobody" }), b.secret, nil, ReasonUnknownPlatform},
		{"by platform: no webhook", byPlatform, encode(func(e *callback.Event) { e.PlatformName = other.Name }), b.secret, nil, ReasonUnknownWebhook},
		{"by platform: wrong secret", byPlatform, good, "another", nil, ReasonBadSignature},
		{"by platform: old", byPlatform, good, b.secret, resign(testNow.Add(-time.Hour)), ReasonStaleTimestamp},
	} {
		r := b.post(c.path, c.body, c.secret, c.headers)
		if r.Status != callback.StatusError || r.Reason != c.reason || r.PublicationID != "" || r.Message == "" {
			t.Errorf("%s: %+v, want reason %q", c.name, r, c.reason)
		}
	}
	l, err := b.service.Publications(t.Context(), Filter{}, Page{})
	if err != nil || len(l.Items) != 0 {
		t.Errorf("publications %v, %v", l, err)
	}
}

func TestReceiveByPlatformTriesItsSecrets(t *testing.T) {
	b := newBench(t)
	second, secret, err := b.service.CreateWebhook(t.Context(), b.platform.ID)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := event(1).Encode()
	for _, s := range []callback.Secret{b.secret, secret} {
		if r := b.post(byPlatform, body, s, nil); r.Status != callback.StatusQueued {
			t.Errorf("%+v", r)
		}
	}
	if a, err := b.service.RecentAttempts(t.Context(), second.ID); err != nil || len(a) != 1 {
		t.Errorf("%v, %v", a, err)
	}
}

func TestReceiveTakesTodaysHeaderAlone(t *testing.T) {
	b := newBench(t)
	body, _ := event(1).Encode()
	r := b.post(byID+b.webhook.ID, body, b.secret, func(h http.Header) {
		signature := h.Get(callback.HeaderSignature)
		clear(h)
		h.Set(callback.HeaderSignature, signature)
	})
	if r.Status != callback.StatusQueued {
		t.Errorf("%+v", r)
	}
}

func TestAddWebhookTakesAnExistingSecret(t *testing.T) {
	b := newBench(t)
	if _, _, err := b.service.AddWebhook(t.Context(), b.platform.ID, "from-the-old-platform", "its secret"); err != nil {
		t.Fatal(err)
	}
	body, _ := event(1).Encode()
	if r := b.post(byID+"from-the-old-platform", body, "its secret", nil); r.Status != callback.StatusQueued {
		t.Errorf("%+v", r)
	}
	for _, c := range []struct{ platform, id, secret string }{
		{b.platform.ID, "from-the-old-platform", "x"}, {"nobody", "a", "x"}, {b.platform.ID, "", "x"}, {b.platform.ID, "b", ""},
	} {
		if _, _, err := b.service.AddWebhook(t.Context(), c.platform, c.id, callback.Secret(c.secret)); err == nil {
			t.Errorf("%v was taken", c)
		}
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	b := newBench(t)
	for range maxAttempts + 10 {
		b.post(byID+b.webhook.ID, []byte("{}"), "another", nil)
	}
	a, err := b.service.RecentAttempts(t.Context(), b.webhook.ID)
	if err != nil || len(a) != maxAttempts {
		t.Errorf("%d attempts, %v", len(a), err)
	}
	var rows int
	err = b.service.store.view(t.Context(), func(t *tx) error { return t.row(`SELECT COUNT(*) FROM attempts`).Scan(&rows) })
	if err != nil || rows != maxAttempts {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// TestConcurrentReceives sends the same event and others from many goroutines
// while the workers run.
func TestConcurrentReceives(t *testing.T) {
	b := newBench(t)
	b.run(b.service)
	const builds, senders = 6, 5
	for n := range builds {
		b.registry.push(event(n), nil)
	}
	var ids sync.Map
	var group sync.WaitGroup
	for i := range builds * senders {
		group.Go(func() {
			body, _ := event(i % builds).Encode()
			r := b.post(byID+b.webhook.ID, body, b.secret, nil)
			if before, loaded := ids.LoadOrStore(i%builds, r.PublicationID); loaded && before != r.PublicationID || r.PublicationID == "" {
				t.Errorf("build %d is publication %v and %q", i%builds, before, r.PublicationID)
			}
		})
	}
	group.Wait()
	for n := range builds {
		id, _ := ids.Load(n)
		want := StatusPublished
		p, _ := b.service.Publication(t.Context(), id.(string))
		for i := 0; p.Status != want && i < 500; i++ {
			time.Sleep(10 * time.Millisecond)
			p, _ = b.service.Publication(t.Context(), id.(string))
		}
		if p.Status != want || p.Current != (n == builds-1) {
			t.Errorf("build %d: %s, current %v", n, p.Status, p.Current)
		}
	}
	if n := b.registry.count(); n != builds {
		t.Errorf("%d verifications of %d builds", n, builds)
	}
}

// TestDatabaseFailureIsNoAnswer makes the sender try again.
func TestDatabaseFailureIsNoAnswer(t *testing.T) {
	b := newBench(t)
	if err := b.service.Close(); err != nil {
		t.Fatal(err)
	}
	body, _ := event(1).Encode()
	r := httptest.NewRequest(http.MethodPost, byID+b.webhook.ID, bytes.NewReader(body))
	_ = callback.Sign(r.Header, body, "msg_1", testNow, b.secret)
	w := httptest.NewRecorder()
	b.service.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "sql") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestVectors receives the shared test vectors, each under its own clock. The
// verdict shows in the reason: a body that is authentic gets further.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("../../fixtures/webhooks/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			Secrets       []string
			Now           int64
			Headers       map[string]string
			Body, Verdict string
		}
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		b := newBench(t)
		b.service.cfg.Now = func() time.Time { return time.Unix(v.Now, 0) }
		for i, secret := range v.Secrets {
			if _, _, err := b.service.AddWebhook(t.Context(), b.platform.ID, fmt.Sprint("hook-", i), callback.Secret(secret)); err != nil {
				t.Fatal(err)
			}
		}
		reason := b.post(vectorPath(v.Body), []byte(v.Body), "x", func(h http.Header) {
			clear(h)
			for name, value := range v.Headers {
				h.Set(name, value)
			}
		}).Reason
		authentic := reason == "" || reason == ReasonUnknownPlatform
		if authentic != (v.Verdict == "ok") || !authentic && reason != v.Verdict {
			t.Errorf("%s: reason %q, verdict %q", path, reason, v.Verdict)
		}
	}
}

// vectorPath is where to send a vector: one whose body is no event can only go
// to a webhook by its identifier.
func vectorPath(body string) string {
	if strings.Contains(body, "platform_name") {
		return byPlatform
	}
	return byID + "hook-0"
}

func FuzzReceive(f *testing.F) {
	service, err := Open(newConfig(f, &registry{hold: map[string]func(context.Context) (Evidence, error){}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = service.Close() })
	p, err := service.CreatePlatform(f.Context(), platformName, patterns())
	if err != nil {
		f.Fatal(err)
	}
	w, secret, err := service.CreateWebhook(f.Context(), p.ID)
	if err != nil {
		f.Fatal(err)
	}
	good, _ := event(1).Encode()
	f.Add(good)
	f.Add([]byte(`{"platform_name":"debian-13-server","size_bytes":-1}`))
	f.Add([]byte(`{"platform_name":"debian-13-server","platform_name":"x"}`))
	f.Add([]byte("\x00"))
	handler := service.Handler()
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{byID + w.ID, byPlatform} {
			r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			if err := callback.Sign(r.Header, body, callback.MessageID(body), testNow, secret); err != nil {
				t.Fatal(err)
			}
			rec := httptest.NewRecorder()
			handler.ServeHTTP(rec, r)
			var answer callback.Response
			if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || rec.Code != http.StatusOK {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
			if taken := answer.Status == callback.StatusQueued; taken != (answer.Reason == "") || taken != (answer.PublicationID != "") {
				t.Fatalf("%+v", answer)
			}
		}
	})
}
