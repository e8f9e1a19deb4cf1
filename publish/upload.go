package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// uploads speaks the upload part of the distribution API, which oras-go offers
// for whole blobs only.
type uploads struct {
	repo   *remote.Repository
	wait   time.Duration // before the second attempt
	wanted int64         // bytes of a piece, before anything was learnt
	mount  string        // a repository of the same registry to take blobs from
}

// begin opens an upload session. The location is empty when the registry took
// the blob from the sibling repository. least is the smallest piece that the
// registry takes, in bytes (distribution specification 1.1,
// "OCI-Chunk-Min-Length"); 0 when it doesn't say.
func (u uploads) begin(ctx context.Context, hexDigest string) (location string, least int64, err error) {
	target := u.base() + "/blobs/uploads/"
	if u.mount != "" {
		target += "?" + url.Values{"mount": {"sha256:" + hexDigest}, "from": {u.mount}}.Encode()
	}
	resp, err := u.request(ctx, http.MethodPost, target, nil)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusCreated:
		return "", 0, nil
	case http.StatusAccepted:
	default:
		if u.mount != "" && resp.StatusCode < http.StatusInternalServerError && resp.StatusCode != http.StatusTooManyRequests {
			// Some refuse what they should only decline: a repository that is
			// missing, that may not be read, or that lacks the blob.
			u.mount = ""
			return u.begin(ctx, hexDigest)
		}
		return "", 0, answerError(resp)
	}
	if n, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil && n > 0 && n <= largestLeast {
		least = n
	}
	location, err = u.location(resp)
	return location, least, err
}

func (u uploads) has(ctx context.Context, f file) (bool, error) {
	return u.repo.Blobs().Exists(ctx, f.descriptor())
}

// base is the URL of the repository.
func (u uploads) base() string {
	scheme := "https"
	if u.repo.PlainHTTP {
		scheme = "http"
	}
	return scheme + "://" + u.repo.Reference.Host() + "/v2/" + u.repo.Reference.Repository
}

// piece is the body of a request: bytes of a file.
type piece struct {
	src      io.ReaderAt
	from, to int64
	// read is told how many of the bytes have been read.
	read func(n int64)
}

// request sends a request, with a body or without. The answer's body must be
// closed.
func (u uploads) request(ctx context.Context, method, target string, body *piece) (*http.Response, error) {
	ctx = auth.AppendRepositoryScope(ctx, u.repo.Reference, auth.ActionPull, auth.ActionPush)
	if u.mount != "" {
		ctx = auth.AppendScopesForHost(ctx, u.repo.Reference.Host(), auth.ScopeRepository(u.mount, auth.ActionPull))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	patience := stalled
	if method == http.MethodPut {
		patience = committing
	}
	timer := time.AfterFunc(patience, func() { cancel(errStalled) })
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if body != nil {
		// It is read again when the registry wants a new token first.
		req.GetBody = func() (io.ReadCloser, error) {
			return io.NopCloser(&watched{r: io.NewSectionReader(body.src, body.from, body.to-body.from), piece: body, timer: timer, last: patience}), nil
		}
		req.Body, _ = req.GetBody()
		req.ContentLength = body.to - body.from
		req.Header.Set("Content-Type", "application/octet-stream")
		if method == http.MethodPatch {
			req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", body.from, body.to-1))
		}
	}
	resp, err := u.repo.Client.Do(req)
	timer.Stop()
	if err != nil {
		if context.Cause(ctx) == errStalled {
			err = errStalled
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &cancelBody{resp.Body, cancel}
	return resp, nil
}

var errStalled = fmt.Errorf("the connection stands still: %w", context.DeadlineExceeded)

// watched puts off a timer with every read of a piece.
type watched struct {
	r     io.Reader
	piece *piece
	done  int64 // bytes
	timer *time.Timer
	last  time.Duration // for the answer, when all has been read
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(stalled)
	n, err := w.r.Read(p)
	w.done += int64(n)
	if w.done == w.piece.to-w.piece.from {
		w.timer.Reset(w.last)
	}
	if w.piece.read != nil {
		w.piece.read(w.done)
	}
	return n, err
}

// location returns where an answer says the upload goes on: perhaps relative,
// never on another host, which would be sent the credentials.
func (u uploads) location(resp *http.Response) (string, error) {
	next, err := resp.Location()
	if err != nil {
		return "", fmt.Errorf("reading the location of the upload: %w", err)
	}
	return next.String(), u.checkLocation(next.String())
}

func (u uploads) checkLocation(location string) error {
	base, err := url.Parse(u.base())
	if err != nil {
		return err
	}
	next, err := url.Parse(location)
	if err != nil {
		return fmt.Errorf("reading the location of the upload: %w", err)
	}
	if next.Scheme != base.Scheme || next.Hostname() != base.Hostname() || port(next) != port(base) {
		return fmt.Errorf("the registry sends the upload to %s://%s", next.Scheme, next.Host)
	}
	return nil
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

func withDigest(location, hexDigest string) string {
	u, err := url.Parse(location)
	if err != nil {
		return location // refused by whoever parses it next
	}
	q := u.Query()
	q.Set("digest", "sha256:"+hexDigest)
	u.RawQuery = q.Encode()
	return u.String()
}

// refusal is an answer that says no, and who gave it.
type refusal struct {
	*errcode.ErrorResponse
	server string        // the Server header: a proxy's, perhaps
	after  string        // the Retry-After header
	wait   time.Duration // that it asks for
}

// Unwrap returns the answer as oras-go would.
func (r *refusal) Unwrap() error { return r.ErrorResponse }

// answerError reads an answer that is an error (distribution specification 1.1,
// "Error Codes"; Gitea's quota and proxies give none of that form).
func answerError(resp *http.Response) error {
	e := &errcode.ErrorResponse{Method: resp.Request.Method, URL: resp.Request.URL, StatusCode: resp.StatusCode}
	var body struct {
		Errors errcode.Errors `json:"errors"`
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if err == nil && json.Unmarshal(raw, &body) == nil {
		e.Errors = body.Errors
	}
	return &refusal{ErrorResponse: e, server: resp.Header.Get("Server"), after: resp.Header.Get("Retry-After"), wait: asked(resp)}
}

// serverOf returns who gave the answer in err's chain, in brackets.
func serverOf(err error) string {
	var r *refusal
	if errors.As(err, &r) && r.server != "" {
		return " (" + r.server + ")"
	}
	return ""
}

// retryAfter returns when the registry wants to be asked again, in brackets.
func retryAfter(err error) string {
	var r *refusal
	if errors.As(err, &r) && r.after != "" {
		return fmt.Sprintf(" (Retry-After: %.40q)", r.after)
	}
	return ""
}
