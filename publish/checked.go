package publish

import (
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"
)

// errChanged says that a file is not what the build made.
var errChanged = errors.New("the file has changed since the build")

// checkedReader passes a file on while hashing it. It gives out the last bytes
// only when the digest is right, so that no registry ever gets a whole file that
// differs from the build.
type checkedReader struct {
	// mu: the HTTP transport may go on reading after the registry has answered.
	mu       sync.Mutex
	r        io.Reader
	sum      hash.Hash
	want     string
	left     int64
	sent     int64
	reported int64
	progress func(sent int64)
	err      error
}

// progressStep is how many bytes lie between two progress reports.
const progressStep = 8 << 20

// failure returns what Read found wrong with the file.
func (c *checkedReader) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Read implements io.Reader.
func (c *checkedReader) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	c.left -= int64(n)
	c.sent += int64(n)
	if c.left == 0 && hex.EncodeToString(c.sum.Sum(nil)) != c.want || c.left > 0 && err == io.EOF {
		c.err = errChanged
		return 0, c.err
	}
	if c.sent-c.reported >= progressStep {
		c.reported = c.sent
		c.progress(c.sent)
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}
