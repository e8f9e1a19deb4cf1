package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// errSmaller says that the piece was refused for its size, and that the next one
// will be smaller.
var errSmaller = errors.New("the piece is too large")

// errWholeOnly says that the registry takes no pieces.
var errWholeOnly = errors.New("the registry takes whole blobs only")

// until returns where the next piece ends. Only the last one may be smaller than
// the registry wants them.
func (c *chunked) until() int64 {
	return min(c.state.Offset+max(c.size.Load(), c.state.Least), c.file.size)
}

// read returns what is sent of the file, with progress.
func (c *chunked) read(from, to int64) *piece {
	var reported int64
	return &piece{src: c.src, from: from, to: to, read: func(n int64) {
		if n-reported >= progressStep {
			reported = n
			c.progress(from + n)
		}
	}}
}

// progressStep is how many bytes lie between two progress reports.
const progressStep = 1 << 20

// chunk sends the next piece. The answer is returned for its headers only.
func (c *chunked) chunk(ctx context.Context) (*http.Response, error) {
	from, to := c.state.Offset, c.until()
	if to == c.file.size {
		if err := c.check(to); err != nil {
			return nil, err
		}
	}
	resp, err := c.request(ctx, http.MethodPatch, c.state.Location, c.read(from, to))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusAccepted, http.StatusNoContent, http.StatusCreated:
		return resp, c.moved(ctx, resp, from, to)
	case http.StatusRequestEntityTooLarge:
		if to-from > c.least() {
			c.shrink((to - from) / 2)
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
func (c *chunked) least() int64 {
	return max(min(smallestChunk, max(c.wanted/32, 1)), c.state.Least)
}

// shrink makes the pieces smaller, for all uploads.
func (c *chunked) shrink(size int64) {
	size = max(size, c.least())
	for old := c.size.Load(); size < old && !c.size.CompareAndSwap(old, size); {
		old = c.size.Load()
	}
}

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
