package callback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Sender delivers events to one URL. Its fields are not changed while it works;
// it may be used from several goroutines.
type Sender struct {
	// URL is http or https, without a user and password.
	URL string
	// Secret signs every delivery.
	Secret Secret
	// Rotation holds further secrets whose signatures are added while the
	// platform is moved from one secret to the next.
	Rotation []Secret
	// Client does the requests; nil means http.DefaultClient. Redirects are
	// never followed, whatever the client says.
	Client *http.Client
	// Now is the clock for webhook-timestamp.
	Now func() time.Time
	// Jitter returns a number in [0, 1) that spreads the retries; nil means
	// that they are not spread.
	Jitter func() float64
	// Wait waits between attempts; nil means a timer. It returns early, with an
	// error, when ctx is done.
	Wait func(ctx context.Context, d time.Duration) error
	// Outbox is the folder that keeps undelivered events; "" keeps none.
	Outbox string
	// MaxAttempts bounds the attempts per event; 0 means 5.
	MaxAttempts int
	// Timeout bounds one attempt; 0 means 30 seconds.
	Timeout time.Duration
	// MaxWait is the longest Retry-After that is waited for; 0 means 2
	// minutes. A platform that asks for more is left alone, and the event
	// stays in the outbox.
	MaxWait time.Duration
}

// Send delivers one event. With an outbox the event is on disk before the first
// attempt and leaves it when the platform has taken it, so that a failure, a
// refusal or the end of the process at any point loses nothing; see Flush. An
// error of the platform or the way to it is an *Error.
func (s *Sender) Send(ctx context.Context, e Event) (Response, error) {
	if err := s.check(); err != nil {
		return Response{}, err
	}
	if err := e.Validate(); err != nil {
		return Response{}, err
	}
	body, err := e.Encode()
	if err != nil {
		return Response{}, err
	}
	if s.Outbox == "" {
		return s.deliver(ctx, body)
	}
	name, err := store(s.Outbox, body)
	if err != nil {
		return Response{}, err
	}
	return s.deliverFile(ctx, name, body)
}

func (s *Sender) check() error {
	u, err := url.Parse(s.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return errors.New("checking callback URL: not an http or https URL without a user and password")
	}
	for _, secret := range append([]Secret{s.Secret}, s.Rotation...) {
		if err := secret.Check(); err != nil {
			return fmt.Errorf("checking callback secret: %w", err)
		}
	}
	if s.Now == nil {
		return errors.New("checking callback sender: no clock")
	}
	return nil
}

// deliver makes attempts until the platform has answered for good.
func (s *Sender) deliver(ctx context.Context, body []byte) (Response, error) {
	for attempt := 1; ; attempt++ {
		r, after, failure := s.attempt(ctx, body)
		if failure == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return Response{}, &Error{Reason: ReasonCancelled, Status: failure.Status, Err: context.Cause(ctx), retry: true}
		}
		if !failure.retry || attempt >= orDefault(s.MaxAttempts, 5) {
			return Response{}, failure
		}
		if after > orDefault(s.MaxWait, 2*time.Minute) {
			failure.Err = fmt.Errorf("%w and asks to wait %s", failure.Err, after)
			return Response{}, failure
		}
		if err := s.wait(ctx, max(after, backoff(attempt, s.jitter()))); err != nil {
			return Response{}, &Error{Reason: ReasonCancelled, Status: failure.Status, Err: err, retry: true}
		}
	}
}

// attempt makes one request. Its second result is the wait that the platform
// asks for, or 0.
func (s *Sender) attempt(ctx context.Context, body []byte) (Response, time.Duration, *Error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(s.Timeout, 30*time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return Response{}, 0, &Error{Reason: ReasonNetwork, Err: plain(err)}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "bootsmith")
	if err := Sign(req.Header, body, MessageID(body), s.Now(), append([]Secret{s.Secret}, s.Rotation...)...); err != nil {
		return Response{}, 0, &Error{Reason: ReasonNetwork, Err: err}
	}
	resp, err := s.client().Do(req)
	if err != nil {
		return Response{}, 0, &Error{Reason: ReasonNetwork, Err: plain(err), retry: true}
	}
	defer resp.Body.Close()
	r, failure := readResponse(resp)
	// What is left is read so that the connection can serve the next attempt.
	_, _ = io.CopyN(io.Discard, resp.Body, maxResponse)
	return r, retryAfter(resp.Header, s.Now()), failure
}

func (s *Sender) client() *http.Client {
	c := http.Client{}
	if s.Client != nil {
		c = *s.Client
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

func (s *Sender) jitter() float64 {
	if s.Jitter == nil {
		return 1
	}
	return s.Jitter()
}

func (s *Sender) wait(ctx context.Context, d time.Duration) error {
	if s.Wait == nil {
		return sleep(ctx, d)
	}
	return s.Wait(ctx, d)
}

// orDefault returns value, or fallback for zero.
func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
