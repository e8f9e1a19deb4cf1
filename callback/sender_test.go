package callback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// platform answers each request with the next of its answers, the last one for
// ever.
type platform struct {
	t       *testing.T
	mu      sync.Mutex
	answers []http.HandlerFunc
	headers []http.Header
	bodies  []string
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Error(err)
	}
	p.mu.Lock()
	p.headers, p.bodies = append(p.headers, r.Header), append(p.bodies, string(body))
	answer := p.answers[0]
	if len(p.answers) > 1 {
		p.answers = p.answers[1:]
	}
	p.mu.Unlock()
	answer(w, r)
}

func (p *platform) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.bodies)
}

func reply(code int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

const taken = `{"success":true,"status":"queued","publication_id":"p1"}`

// start returns a sender that talks to a platform with the given answers, and
// the waits that it makes instead of sleeping.
func start(t *testing.T, answers ...http.HandlerFunc) (*Sender, *platform, *[]time.Duration) {
	p := &platform{t: t, answers: answers}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	waits := &[]time.Duration{}
	return &Sender{
		URL:    server.URL + "/hook?token=hidden",
		Secret: rawSecret,
		Client: server.Client(),
		Now:    func() time.Time { return time.Unix(sentAt, 0) },
		Outbox: t.TempDir(),
		Wait: func(ctx context.Context, d time.Duration) error {
			*waits = append(*waits, d)
			return ctx.Err()
		},
	}, p, waits
}

func TestSendSignsTheBody(t *testing.T) {
	s, p, _ := start(t, reply(200, taken))
	s.Rotation = []Secret{nextSecret}
	r, err := s.Send(t.Context(), example())
	if err != nil || r.Status != StatusQueued || r.PublicationID != "p1" {
		t.Fatalf("%+v, %v", r, err)
	}
	body, _ := example().Encode()
	if p.bodies[0] != string(body) || p.headers[0].Get("Content-Type") != "application/json" {
		t.Errorf("sent %s", p.bodies[0])
	}
	d, err := Verify(p.headers[0], body, s.Now(), Tolerance, rawSecret)
	if err != nil || d.ID != MessageID(body) || !d.At.Equal(s.Now()) {
		t.Errorf("%+v, %v", d, err)
	}
	// A platform that has moved on to the next secret reads the other signature.
	h := p.headers[0].Clone()
	h.Del(HeaderSignature)
	if _, err := Verify(h, body, s.Now(), Tolerance, nextSecret); err != nil {
		t.Error(err)
	}
}

func TestSendOutcomes(t *testing.T) {
	refused := `{"success":true,"status":"error","reason":"bad_signature"}`
	busy := reply(503, "busy")
	for _, c := range []struct {
		name    string
		answers []http.HandlerFunc
		reason  string // "" for success
		status  int
		calls   int
		waits   []time.Duration
	}{
		{"taken", []http.HandlerFunc{reply(200, taken)}, "", 0, 1, nil},
		{"empty answer", []http.HandlerFunc{reply(204, "")}, "", 0, 1, nil},
		{"numeric identifier", []http.HandlerFunc{reply(200, `{"success":true,"publication_id":7}`)}, "", 0, 1, nil},
		{"wrong secret", []http.HandlerFunc{reply(200, refused)}, "bad_signature", 200, 1, nil},
		{"refused without reason", []http.HandlerFunc{reply(200, `{"success":false}`)}, "unspecified", 200, 1, nil},
		{"5xx, then taken", []http.HandlerFunc{busy, busy, reply(200, taken)}, "", 0, 3, []time.Duration{time.Second, 2 * time.Second}},
		{"408, then taken", []http.HandlerFunc{reply(408, ""), reply(200, taken)}, "", 0, 2, []time.Duration{time.Second}},
		{"5xx for ever", []http.HandlerFunc{busy}, ReasonStatus, 503, 5, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}},
		{"429 with seconds", []http.HandlerFunc{reply(429, "", "Retry-After", "7"), reply(200, taken)}, "", 0, 2, []time.Duration{7 * time.Second}},
		{"429 with date", []http.HandlerFunc{reply(429, "", "Retry-After", time.Unix(sentAt+9, 0).UTC().Format(http.TimeFormat)), reply(200, taken)}, "", 0, 2, []time.Duration{9 * time.Second}},
		{"429 for an hour", []http.HandlerFunc{reply(429, "", "Retry-After", "3600")}, ReasonStatus, 429, 1, nil},
		{"401", []http.HandlerFunc{reply(401, "")}, ReasonStatus, 401, 1, nil},
		{"404", []http.HandlerFunc{reply(404, "")}, ReasonStatus, 404, 1, nil},
		{"redirect", []http.HandlerFunc{reply(307, "", "Location", "/elsewhere")}, ReasonRedirect, 307, 1, nil},
		{"a portal's page", []http.HandlerFunc{reply(200, "<html>")}, ReasonBadResponse, 200, 1, nil},
		{"other JSON", []http.HandlerFunc{reply(200, "{}")}, ReasonBadResponse, 200, 1, nil},
		{"too long", []http.HandlerFunc{reply(200, `{"success":true,"x":"`+strings.Repeat("x", maxResponse)+`"}`)}, ReasonBadResponse, 200, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p, waits := start(t, c.answers...)
			_, err := s.Send(t.Context(), example())
			var e *Error
			switch {
			case c.reason == "" && err != nil:
				t.Error(err)
			case c.reason != "" && (!errors.As(err, &e) || e.Reason != c.reason || e.Status != c.status):
				t.Errorf("error %v", err)
			}
			if p.count() != c.calls || !slices.Equal(*waits, c.waits) {
				t.Errorf("%d calls, waits %v", p.count(), *waits)
			}
			pending, err := s.Pending()
			if err != nil || (len(pending) == 0) != (c.reason == "") {
				t.Errorf("outbox: %v, %v", pending, err)
			}
			if text := fmt.Sprint(e); strings.Contains(text, rawSecret) || strings.Contains(text, "hidden") {
				t.Errorf("the error tells too much: %s", text)
			}
		})
	}
}

func TestSendRetriesNetworkErrors(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			c.Close()
		}
	}
	s, p, _ := start(t, hang, hang, reply(200, taken))
	if _, err := s.Send(t.Context(), example()); err != nil || p.count() != 3 {
		t.Errorf("%d calls, %v", p.count(), err)
	}
	s.URL, s.MaxAttempts = "http://127.0.0.1:1/?token=hidden", 2
	_, err := s.Send(t.Context(), example())
	var e *Error
	if !errors.As(err, &e) || e.Reason != ReasonNetwork || !e.Retriable() || strings.Contains(err.Error(), "hidden") {
		t.Errorf("error %v", err)
	}
}

func TestSendTimesOut(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
	}
	s, p, _ := start(t, slow)
	s.Timeout, s.MaxAttempts = 20*time.Millisecond, 2
	_, err := s.Send(t.Context(), example())
	var e *Error
	if !errors.As(err, &e) || e.Reason != ReasonNetwork || p.count() != 2 {
		t.Errorf("%d calls, error %v", p.count(), err)
	}
}

func TestSendStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, p, _ := start(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(503)
	})
	s.Wait = nil
	began := time.Now()
	_, err := s.Send(ctx, example())
	var e *Error
	if !errors.As(err, &e) || e.Reason != ReasonCancelled || !errors.Is(err, context.Canceled) || p.count() != 1 {
		t.Errorf("%d calls, error %v", p.count(), err)
	}
	if d := time.Since(began); d > 900*time.Millisecond {
		t.Errorf("waited %s after the end", d)
	}
}

func TestSendRefusesWhatItCannotSend(t *testing.T) {
	for name, spoil := range map[string]func(*Sender, *Event){
		"scheme":    func(s *Sender, _ *Event) { s.URL = "file:///etc/passwd" },
		"user":      func(s *Sender, _ *Event) { s.URL = "https://a:hidden@example.com/" },
		"no secret": func(s *Sender, _ *Event) { s.Secret = "" },
		"rotation":  func(s *Sender, _ *Event) { s.Rotation = []Secret{"whsec_hidden!"} },
		"no clock":  func(s *Sender, _ *Event) { s.Now = nil },
		"event":     func(_ *Sender, e *Event) { e.SHA256 = "" },
	} {
		s, p, _ := start(t, reply(200, taken))
		e := example()
		spoil(s, &e)
		if _, err := s.Send(t.Context(), e); err == nil || p.count() != 0 || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %d calls, error %v", name, p.count(), err)
		}
	}
}

func TestBackoffGrowsAndIsSpread(t *testing.T) {
	for attempt, want := range map[int]time.Duration{1: time.Second, 3: 4 * time.Second, 6: maxDelay, 1000: maxDelay} {
		if most, least := backoff(attempt, 1), backoff(attempt, 0); most != want || least != want/2 {
			t.Errorf("attempt %d: %s to %s", attempt, least, most)
		}
	}
}
