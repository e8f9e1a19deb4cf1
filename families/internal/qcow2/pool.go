package qcow2

import (
	"bytes"
	"context"
	"sync"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sync/errgroup"
)

// job is a cluster on its way to the spool.
type job struct {
	index  int64
	data   []byte       // clusterSize bytes when it is submitted
	packed bytes.Buffer // data as a raw deflate stream
	done   chan struct{}
}

// pool compresses clusters on several CPUs and hands them on in order. A fixed
// number of jobs goes round, which bounds the memory.
type pool struct {
	ctx               context.Context // the caller's, which tells why work ended
	working           context.Context // done as well when a worker fails
	cancel            context.CancelFunc
	group             *errgroup.Group
	free, work, order chan *job
	close             sync.Once // of work and order
}

// newPool starts the workers. Finished jobs go to store, in the order in which
// they were submitted, one at a time.
func newPool(ctx context.Context, workers int, store func(*job) error) *pool {
	ctx, cancel := context.WithCancel(ctx)
	group, working := errgroup.WithContext(ctx)
	jobs := 4*workers + 2
	p := &pool{
		ctx: ctx, working: working, cancel: cancel, group: group,
		free: make(chan *job, jobs), work: make(chan *job, jobs), order: make(chan *job, jobs),
	}
	for range jobs {
		p.free <- &job{data: make([]byte, 0, clusterSize), done: make(chan struct{}, 1)}
	}
	for range workers {
		group.Go(p.compress)
	}
	group.Go(func() error { return p.collect(store) })
	return p
}

// windowSize is the window of QEMU's decompressor (inflateInit2 with 12 bits).
const windowSize = 4096

func (p *pool) compress() error {
	w, err := flate.NewWriterWindow(nil, windowSize)
	if err != nil {
		return err
	}
	for j := range p.work {
		if err := p.working.Err(); err != nil {
			return err
		}
		j.packed.Reset()
		w.Reset(&j.packed)
		if _, err := w.Write(j.data); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		j.done <- struct{}{}
	}
	return nil
}

func (p *pool) collect(store func(*job) error) error {
	for j := range p.order {
		select {
		case <-j.done:
		case <-p.working.Done():
			return p.working.Err()
		}
		if err := store(j); err != nil {
			return err
		}
		j.data = j.data[:0]
		p.free <- j
	}
	return nil
}

// submit takes a job and returns an empty one. The channels hold all jobs there
// are, so only the wait for a free one can block.
func (p *pool) submit(j *job) (*job, error) {
	p.work <- j
	p.order <- j
	return p.next()
}

func (p *pool) next() (*job, error) {
	select {
	case j := <-p.free:
		return j, nil
	case <-p.working.Done():
		return nil, p.wait()
	}
}

// wait returns when all jobs are stored, or with the first error. No job may be
// submitted afterwards.
func (p *pool) wait() error {
	p.close.Do(func() {
		close(p.work)
		close(p.order)
	})
	if err := p.group.Wait(); err != nil {
		return err
	}
	return p.ctx.Err()
}

// stop ends the workers, whatever they are doing.
func (p *pool) stop() {
	p.cancel()
	// The error was reported before, or nobody wants the result.
	_ = p.wait()
}
