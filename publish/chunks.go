package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Sizes of the pieces in which a blob is sent, in bytes.
const (
	defaultChunk  = 32 << 20
	smallestChunk = 256 << 10 // below which a limit is an error
)

// restarts is how often an upload is begun anew, and brokenChunks how often in
// a row a piece may fail.
const (
	restarts     = 3
	brokenChunks = 5
)

// errBegin asks for the upload to be begun anew: the registry has forgotten it,
// or holds something else than was sent.
var errBegin = errors.New("the registry lost the upload")

// chunked sends a file in pieces (OCI distribution specification 1.1, "Pushing a
// blob in chunks"). After a lost connection, and in another process through the
// state file, it goes on where the registry says it is.
type chunked struct {
	uploads
	src   *os.File
	file  file
	state uploadState
	keep  *stateFile
	// size is that of the pieces; all uploads of a run learn it from each other.
	size *atomic.Int64

	sum      hash.Hash // of the file's first hashed bytes
	hashed   int64
	progress func(sent int64)
}

// send sends the whole file.
func (c *chunked) send(ctx context.Context) error {
	for try := 1; ; try++ {
		err := c.once(ctx)
		if err == nil || errors.Is(err, errChanged) || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, errBegin) || try == restarts {
			return err
		}
		c.state = uploadState{}
		if err := c.keep.remove(); err != nil {
			return err
		}
		if err := sleep(ctx, backoff(c.wait, try, nil)); err != nil {
			return err
		}
	}
}

func (c *chunked) once(ctx context.Context) error {
	if err := c.start(ctx); err != nil || c.state.Location == "" {
		return err
	}
	broken, lost := 0, false
	for c.state.Offset < c.file.size {
		size, offset := c.size.Load(), c.state.Offset
		resp, err := c.next(ctx, lost)
		if lost = err != nil && !errors.Is(err, errSmaller); !lost {
			if c.state.Offset > offset {
				broken = 0
			}
			c.progress(c.state.Offset)
			if err := c.keep.write(c.state); err != nil {
				return err
			}
			continue
		}
		if broken++; broken == brokenChunks || ctx.Err() != nil || !transient(err) {
			return err
		}
		if broken > 1 { // some proxies cut the connection where others answer 413
			c.size.CompareAndSwap(size, max(size/2, c.least()))
		}
		if err := sleep(ctx, backoff(c.wait, broken, resp)); err != nil {
			return err
		}
	}
	return c.finish(ctx)
}

// next sends a piece or, when the last one was lost, asks where the upload is.
func (c *chunked) next(ctx context.Context, lost bool) (*http.Response, error) {
	if lost {
		return nil, c.ask(ctx)
	}
	return c.chunk(ctx)
}

// start goes on with the upload that the state file names, or begins one. The
// blob may turn out to be there: then there is no location.
func (c *chunked) start(ctx context.Context) error {
	if c.state.Location != "" {
		if err := c.ask(ctx); !errors.Is(err, errBegin) {
			return err
		}
		c.state = uploadState{}
	}
	location, least, err := c.begin(ctx, c.file.sha256)
	if err != nil || location == "" {
		return err
	}
	if c.size.Load() < least {
		c.size.Store(least)
	}
	c.state = uploadState{Location: location}
	return c.keep.write(c.state)
}

// errSmaller says that the piece was refused for its size, and that the next one
// will be smaller.
var errSmaller = errors.New("the piece is too large")

// errWholeOnly says that the registry takes no pieces.
var errWholeOnly = errors.New("the registry takes whole blobs only")

// chunk sends the next piece. The answer is returned for its headers only.
func (c *chunked) chunk(ctx context.Context) (*http.Response, error) {
	size := c.size.Load()
	from, to := c.state.Offset, min(c.state.Offset+size, c.file.size)
	if to == c.file.size {
		if err := c.check(to); err != nil {
			return nil, err
		}
	}
	resp, err := c.request(ctx, http.MethodPatch, c.state.Location, io.NewSectionReader(c.src, from, to-from), from)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusAccepted, http.StatusNoContent, http.StatusCreated:
		return resp, c.moved(ctx, resp, from, to)
	case http.StatusRequestEntityTooLarge:
		if to-from > c.least() {
			c.size.CompareAndSwap(size, max((to-from)/2, c.least()))
			return resp, errSmaller
		}
	case http.StatusRequestedRangeNotSatisfiable:
		// What was thought lost has arrived: the answer says how much.
		return resp, c.ask(ctx)
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		if from == 0 {
			return resp, errWholeOnly
		}
	case http.StatusNotFound:
		return resp, fmt.Errorf("%w: %w", errBegin, answerError(resp))
	}
	return resp, answerError(resp)
}

// least is the smallest piece that is tried.
func (c *chunked) least() int64 { return min(smallestChunk, max(c.wanted/32, 1)) }

// moved takes the new location and offset from an answer.
func (c *chunked) moved(ctx context.Context, resp *http.Response, from, to int64) error {
	if err := c.relocate(resp); err != nil {
		return err
	}
	end, ok := rangeEnd(resp.Header.Get("Range"))
	if !ok {
		return c.ask(ctx)
	}
	// Version 2.8 of distribution appends wherever it is; others may take a part.
	if end <= from && to > from+1 || end > to {
		return fmt.Errorf("%w: it has %d bytes, not %d", errBegin, end, to)
	}
	c.state.Offset = end
	return nil
}

func (c *chunked) relocate(resp *http.Response) error {
	if resp.Header.Get("Location") == "" {
		return nil
	}
	location, err := c.location(resp)
	if err == nil {
		c.state.Location = location
	}
	return err
}

// ask finds out how much the registry has.
func (c *chunked) ask(ctx context.Context) error {
	resp, err := c.request(ctx, http.MethodGet, c.state.Location, nil, -1)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent, http.StatusOK, http.StatusAccepted:
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusGone:
		return fmt.Errorf("%w: %w", errBegin, answerError(resp))
	default:
		return answerError(resp)
	}
	if err := c.relocate(resp); err != nil {
		return err
	}
	end, ok := rangeEnd(resp.Header.Get("Range"))
	if !ok || end > c.file.size {
		return errBegin
	}
	c.state.Offset = end
	return nil
}

// rangeEnd reads "0-<last>", which has always been inclusive; "0-0" stands for
// nothing, too, and is taken so: a piece of one byte is sent twice then, and
// refused, and the upload begun anew.
func rangeEnd(header string) (int64, bool) {
	from, last, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || from != "0" || err != nil || n < 0 {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	return n + 1, true
}

// check compares the digest of the file with the build's. It is called before
// the last piece is sent, so that no registry gets the whole of another file.
func (c *chunked) check(to int64) error {
	if c.sum == nil {
		c.sum = sha256.New()
	}
	if c.hashed < to {
		n, err := io.Copy(c.sum, io.NewSectionReader(c.src, c.hashed, to-c.hashed))
		if c.hashed += n; err != nil {
			return err
		}
	}
	if c.hashed != c.file.size || hex.EncodeToString(c.sum.Sum(nil)) != c.file.sha256 {
		return errChanged
	}
	return nil
}

// finish closes the upload: the registry compares the digest.
func (c *chunked) finish(ctx context.Context) error {
	if err := c.check(c.file.size); err != nil {
		return err
	}
	var last error
	for try := 1; try <= brokenChunks; try++ {
		resp, err := c.request(ctx, http.MethodPut, withDigest(c.state.Location, c.file.sha256), nil, -1)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusCreated || resp.StatusCode == http.StatusNoContent {
				return nil
			}
			err = answerError(resp)
			if s := resp.StatusCode; s == http.StatusNotFound || s == http.StatusBadRequest || s == http.StatusRequestedRangeNotSatisfiable {
				// A lost answer may have been the last one; else the bytes were
				// damaged on their way.
				if has, herr := c.has(ctx, c.file); herr == nil && has {
					return nil
				}
				return fmt.Errorf("%w: %w", errBegin, err)
			}
		}
		if last = err; ctx.Err() != nil || !transient(err) {
			return err
		}
		if err := sleep(ctx, backoff(c.wait, try, resp)); err != nil {
			return err
		}
	}
	return last
}

// stalled is how long an upload's connection may stand still, and committing
// how long a registry may take to check and store a whole blob.
const (
	stalled    = time.Minute
	committing = 15 * time.Minute
)
