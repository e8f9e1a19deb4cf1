package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// How often and how long a request is tried again.
const (
	tries        = 4
	firstWait    = 250 * time.Millisecond
	longestWait  = 30 * time.Second
	longestAsked = 5 * time.Minute // by a Retry-After; more is an error
	answerWithin = 60 * time.Second
)

// StatusError is a refusal of a signing service, with what it said.
type StatusError struct {
	Method, Host, Path string
	Status             int
	Body               string // the first KiB
}

// Error names the request, the status and the service's words.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s%s: %d %s: %s", e.Method, e.Host, e.Path, e.Status, http.StatusText(e.Status), e.Body)
}

// retrier repeats requests that a later attempt may answer: refused or reset
// connections, time-outs, 408, 429 and 5xx. A body that cannot be read twice
// is sent once.
type retrier struct {
	base http.RoundTripper
	// ctx, when set, replaces the context of every request: the clients for
	// Fulcio and the timestamp authority make theirs without one.
	ctx context.Context
	// refuse turns the final answer 4xx or 5xx into a StatusError. Those
	// clients would sleep after the last attempt and lose the answer.
	refuse bool
	wait   time.Duration // before the second attempt
}

// RoundTrip implements http.RoundTripper.
func (t *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if t.ctx != nil {
		ctx = t.ctx
	}
	rewindable := (req.Body == nil || req.Body == http.NoBody || req.GetBody != nil) && !isUpload(req)
	for try := 1; ; try++ {
		resp, err := t.once(ctx, req, rewindable, try)
		if try == tries || !rewindable || ctx.Err() != nil || !worthRetry(resp, err) {
			return t.answer(req, resp, err)
		}
		wait := backoff(t.wait, try, resp)
		if resp != nil {
			resp.Body.Close()
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// isUpload tells whether a request changes an upload session. Whether it did so
// must be found out before it is repeated.
func isUpload(req *http.Request) bool {
	return req.Method == http.MethodPatch || req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/blobs/")
}

// once sends the request. A rewindable request must be answered in time; a
// stream may take as long as it takes.
func (t *retrier) once(ctx context.Context, req *http.Request, rewindable bool, try int) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := req.Clone(ctx)
	if try > 1 && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			cancel(nil)
			return nil, err
		}
		r.Body = body
	}
	if rewindable {
		timer := time.AfterFunc(answerWithin, func() { cancel(errNoAnswer) })
		defer timer.Stop()
	}
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		if context.Cause(ctx) == errNoAnswer {
			err = errNoAnswer
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &cancelBody{resp.Body, cancel}
	return resp, nil
}

func (t *retrier) answer(req *http.Request, resp *http.Response, err error) (*http.Response, error) {
	if err != nil || !t.refuse || resp.StatusCode < 400 {
		return resp, err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return nil, &StatusError{Method: req.Method, Host: req.URL.Host, Path: req.URL.Path, Status: resp.StatusCode, Body: string(body)}
}

var errNoAnswer = fmt.Errorf("no answer within %s: %w", answerWithin, context.DeadlineExceeded)

// cancelBody frees the request's context when the answer has been read.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *cancelBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

func worthRetry(resp *http.Response, err error) bool {
	if err == nil {
		s := resp.StatusCode
		return (s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s >= 500 && s != http.StatusNotImplemented) &&
			asked(resp) <= longestAsked
	}
	var timeout net.Error
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &timeout) && timeout.Timeout()
}

// backoff doubles the wait with every try and takes off up to half of it, so
// that many clients do not come back at once. What a Retry-After asks for is
// waited, too.
func backoff(first time.Duration, try int, resp *http.Response) time.Duration {
	d := first << (try - 1)
	d = min(d-rand.N(d/2+1), longestWait)
	if resp != nil {
		d = max(d, min(asked(resp), longestAsked))
	}
	return d
}

// asked returns how long an answer's Retry-After wants the client to wait (RFC
// 9110, section 10.2.3); a date is taken by the server's own clock.
func asked(resp *http.Response) time.Duration {
	after := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(after); err == nil {
		return time.Duration(max(0, min(s, 24*3600))) * time.Second
	}
	at, err := http.ParseTime(after)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
