package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/archive"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// ErrEmpty tells that a program wrote no archive.
var ErrEmpty = errors.New("it wrote nothing")

// settleTime is how long a program may go on that has closed a bad archive.
const settleTime = 2 * time.Second

// Tar runs the program that start returns, which writes a tar archive to the
// file that start is given, and reads it meanwhile; name is what messages call
// that file. epoch is as for archive.Unpack. A program that ends well without having written a byte is an
// error that matches ErrEmpty.
func Tar(ctx context.Context, s *store.Store, epoch int64, limits source.Limits, name string, start func(out *os.File) Program) (*tree.Tree, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer out.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		tree  *tree.Tree
		empty bool
		err   error
	}
	done := make(chan result, 1)
	go func() {
		count := &counter{r: out}
		t, err := archive.Unpack(ctx, count, s, epoch, limits)
		switch {
		case err == nil:
		case count.ended: // the program is about to tell why, or goes on in vain
			time.AfterFunc(settleTime, cancel)
		default:
			cancel() // nobody reads what the program writes: stop it
		}
		done <- result{t, count.n == 0, err}
	}()
	p := start(in)
	runErr := p.Run(ctx)
	in.Close()
	// As for the log: what is in the pipe can be read at once.
	if err := out.SetReadDeadline(time.Now().Add(leftoverWait)); err != nil {
		return nil, fmt.Errorf("running %q: %w", p.Path, err)
	}
	r := <-done
	switch {
	case runErr != nil && !errors.Is(runErr, context.Canceled):
		return nil, runErr
	case errors.Is(r.err, os.ErrDeadlineExceeded):
		return nil, fault.Buildf("running %q: a process that it left behind holds %s open", p.Path, name).
			WithFix("have it wait for what it starts")
	case r.empty:
		return nil, fault.Buildf("running %q: %w to %s", p.Path, ErrEmpty, name)
	case r.err != nil:
		return nil, source.Explain(fault.Build, fmt.Errorf("reading what %q wrote to %s: %w", p.Path, name, r.err), "have it write one tar archive, of relative paths, to its end")
	}
	return r.tree, runErr
}

// counter counts the bytes read, and sees their end.
type counter struct {
	r     io.Reader
	n     int64
	ended bool
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.ended = c.ended || err == io.EOF
	return n, err
}
