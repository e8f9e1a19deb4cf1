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
	largestLeast  = 1 << 30   // of what a registry may want at least
)

// restarts is how often an upload is begun anew, brokenChunks how often in a row
// a piece may fail, and internal how often so for a fault of the registry's own.
const (
	restarts     = 3
	brokenChunks = 5
	internal     = 3 // with status 500
)

// stalled is how long an upload's connection may stand still, and committing
// how long a registry may take to check and store a whole blob.
const (
	stalled    = time.Minute
	committing = 15 * time.Minute
)

// errBegin asks for the upload to be begun anew: the registry has forgotten it,
// or holds something else than was sent.
var errBegin = errors.New("the registry lost the upload")

// chunked sends a file: a small one at once, a larger one in pieces (OCI
// distribution specification 1.1, "POST then PUT" and "Pushing a blob in
// chunks"). After a lost connection, and in another process through the state
// file, pieces go on where the registry says they are.
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
	mounted  bool // the registry took the blob from another repository
	progress func(sent int64)
}

// send sends the whole file.
func (c *chunked) send(ctx context.Context) error {
	for try := 1; ; try++ {
		err := c.once(ctx)
		if err == nil || errors.Is(err, errChanged) || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, errBegin) {
			return err
		}
		c.state = uploadState{}
		if rerr := c.keep.remove(); rerr != nil || try == restarts {
			return errors.Join(err, rerr)
		}
		if err := sleep(ctx, backoff(c.wait, try, nil)); err != nil {
			return err
		}
	}
}

func (c *chunked) once(ctx context.Context) error {
	if err := c.start(ctx); err != nil || c.mounted {
		return err
	}
	if c.state.Offset == 0 && c.file.size > 0 && c.file.size <= c.size.Load() {
		if err := c.whole(ctx); !errors.Is(err, errSmaller) {
			return err
		}
	}
	err := c.pieces(ctx)
	if errors.Is(err, errWholeOnly) {
		return c.whole(ctx)
	}
	return err
}

// pieces sends what the registry does not have yet, and closes the upload.
func (c *chunked) pieces(ctx context.Context) error {
	if err := c.keep.write(c.state); err != nil {
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
		broken++
		if broken == internal && statusOf(err) == http.StatusInternalServerError {
			// Gitea answers so for ever after a piece that was cut.
			return fmt.Errorf("%w: %w", errBegin, err)
		}
		if broken == brokenChunks || ctx.Err() != nil || !transient(err) {
			return err
		}
		if broken > 1 { // some proxies cut the connection where others answer 413
			c.shrink(size / 2)
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
// blob may turn out to be there.
func (c *chunked) start(ctx context.Context) error {
	if c.state.Location != "" {
		if err := c.ask(ctx); !errors.Is(err, errBegin) {
			return err
		}
	}
	location, least, err := c.begin(ctx, c.file.sha256)
	c.state = uploadState{Location: location, Least: least}
	c.mounted = err == nil && location == ""
	return err
}

// relocate takes the new location from an answer, if it has one.
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
	resp, err := c.request(ctx, http.MethodGet, c.state.Location, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent, http.StatusOK, http.StatusAccepted:
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusGone, http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: %w", errBegin, answerError(resp))
	default:
		return answerError(resp)
	}
	if err := c.relocate(resp); err != nil {
		return err
	}
	// Gitea leaves the header out when it has nothing.
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

// errChanged says that a file is not what the build made.
var errChanged = errors.New("the file has changed since the build")

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

// whole sends the file in the request that closes the upload.
func (c *chunked) whole(ctx context.Context) error {
	if err := c.check(c.file.size); err != nil {
		return err
	}
	resp, err := c.close(ctx, c.read(0, c.file.size))
	if err == nil || ctx.Err() != nil || errors.Is(err, errBegin) {
		return err
	}
	if resp != nil && resp.StatusCode == http.StatusRequestEntityTooLarge && c.file.size > c.least() {
		c.shrink(c.file.size / 2)
		return fmt.Errorf("%w: %w", errSmaller, err)
	}
	if !transient(err) {
		return err
	}
	if err := sleep(ctx, backoff(c.wait, 1, resp)); err != nil {
		return err
	}
	// How much of it has arrived is not worth a question.
	return c.lost(ctx, err)
}

// finish closes the upload: the registry compares the digest.
func (c *chunked) finish(ctx context.Context) error {
	if err := c.check(c.file.size); err != nil {
		return err
	}
	var last error
	for try := 1; try <= brokenChunks; try++ {
		resp, err := c.close(ctx, nil)
		if last = err; err == nil || ctx.Err() != nil || !transient(err) {
			return err
		}
		if err := sleep(ctx, backoff(c.wait, try, resp)); err != nil {
			return err
		}
	}
	return last
}

// close sends the last request of an upload. The answer, if there is one, is
// returned for its status and headers only.
func (c *chunked) close(ctx context.Context, body *piece) (*http.Response, error) {
	resp, err := c.request(ctx, http.MethodPut, withDigest(c.state.Location, c.file.sha256), body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusCreated, http.StatusNoContent:
		return resp, nil
	case http.StatusNotFound, http.StatusBadRequest, http.StatusRequestedRangeNotSatisfiable:
		// A lost answer may have been the last one; else the bytes were damaged
		// on their way.
		return resp, c.lost(ctx, answerError(resp))
	}
	return resp, answerError(resp)
}

// lost tells whether the blob is there in spite of an error; if not, the upload
// has to be begun anew.
func (c *chunked) lost(ctx context.Context, err error) error {
	if has, herr := c.has(ctx, c.file); herr == nil && has {
		return nil
	}
	return fmt.Errorf("%w: %w", errBegin, err)
}
