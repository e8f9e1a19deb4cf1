package apt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
)

const (
	// attempts is how often a download is tried.
	attempts = 4
	// stallTimeout ends an attempt during which no byte arrives.
	stallTimeout = 60 * time.Second
)

var errStalled = fmt.Errorf("no data for %s", stallTimeout)

// networkError is an error that another attempt may cure.
type networkError struct{ err error }

func (e *networkError) Error() string { return e.err.Error() }
func (e *networkError) Unwrap() error { return e.err }

// transfer hands the file at a path of the archive to sink, which is called
// anew for every attempt. A file that isn't there is an error that matches
// fs.ErrNotExist.
func (a *Archive) transfer(ctx context.Context, path string, sink func(io.Reader) error) error {
	address, err := a.address(path)
	if err != nil {
		return err
	}
	pause := a.Backoff
	if pause <= 0 {
		pause = 500 * time.Millisecond
	}
	for i := 1; ; i++ {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if address.Scheme == "file" {
			err = readLocal(address.Path, sink)
		} else {
			err = a.request(ctx, address.String(), sink)
		}
		var again *networkError
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !errors.As(err, &again) {
			return fmt.Errorf("downloading %q: %w", address, err)
		}
		if i == attempts {
			return fault.Buildf("downloading %q: %w", address, err).WithFix("check the network and the mirror's address, or try again later")
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("downloading %q: %w", address, context.Cause(ctx))
		}
		pause *= 2
	}
}

// address returns the URL of a path, which must stay below the mirror.
func (a *Archive) address(path string) (*url.URL, error) {
	if !fs.ValidPath(path) || path == "." {
		return nil, fmt.Errorf("reading %q of %q: not a path in an archive", path, a.Mirror)
	}
	u, err := url.Parse(a.Mirror)
	if err != nil {
		return nil, fmt.Errorf("reading mirror %q: %w", a.Mirror, err)
	}
	u.Path = strings.TrimRight(u.Path, "/") + "/" + path
	u.RawPath = ""
	return u, nil
}

func readLocal(path string, sink func(io.Reader) error) error {
	f, err := os.Open(filepath.FromSlash(path))
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(errors.New("not a regular file"), err)
	}
	return sink(f)
}

// request does one HTTP request.
func (a *Archive) request(ctx context.Context, address string, sink func(io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	defer stall.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "bootsmith")
	req.Header.Set("Accept-Encoding", "identity")
	client := a.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return &networkError{errors.Join(err, context.Cause(ctx))}
	}
	defer resp.Body.Close()
	if err := statusError(resp); err != nil {
		return err
	}
	body := &bodyReader{r: resp.Body, touch: func() { stall.Reset(stallTimeout) }}
	err = sink(body)
	if body.err != nil {
		return &networkError{errors.Join(body.err, context.Cause(ctx))}
	}
	return err
}

// statusError classes an answer: found, not there, try again, give up.
func statusError(resp *http.Response) error {
	code := resp.StatusCode
	switch {
	case code == http.StatusOK:
		return nil
	case code == http.StatusNotFound || code == http.StatusGone:
		return fmt.Errorf("the server answered %q: %w", resp.Status, fs.ErrNotExist)
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return &networkError{fmt.Errorf("the server answered %q", resp.Status)}
	}
	return fmt.Errorf("the server answered %q", resp.Status)
}

// bodyReader keeps the connection's errors apart from those of the sink.
type bodyReader struct {
	r     io.Reader
	touch func()
	err   error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if n > 0 {
		b.touch()
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}
