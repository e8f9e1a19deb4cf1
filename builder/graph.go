package builder

import (
	"context"
	"sync"
	"time"
)

// graph runs stages as soon as what they need is there, as many at a time as
// there are slots. The first failure cancels the rest.
type graph struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	slots  chan struct{}
	report Reporter
	now    func() time.Time
	wg     sync.WaitGroup
}

// newGraph returns a graph that runs up to jobs stages at a time.
func newGraph(ctx context.Context, jobs int, now func() time.Time, report Reporter) *graph {
	ctx, cancel := context.WithCancelCause(ctx)
	return &graph{ctx: ctx, cancel: cancel, slots: make(chan struct{}, max(1, jobs)), report: report, now: now}
}

// wait returns after every stage has ended, with the first failure.
func (g *graph) wait() error {
	g.wg.Wait()
	err := context.Cause(g.ctx)
	g.cancel(nil)
	return err
}

// dependency is a stage whose end others wait for.
type dependency interface{ finished() <-chan struct{} }

// result is what a stage returns. get may be called only in stages that need
// it, and after wait returned without an error.
type result[T any] struct {
	done  chan struct{}
	value T
}

func (r *result[T]) finished() <-chan struct{} { return r.done }

func (r *result[T]) get() T { return r.value }

// stage adds a stage to the graph.
func stage[T any](g *graph, name string, needs []dependency, run func(ctx context.Context) (T, error)) *result[T] {
	r := &result[T]{done: make(chan struct{})}
	g.wg.Go(func() {
		if !g.acquire(needs) {
			return // r.done stays open: what needs it stops through the context
		}
		defer func() { <-g.slots }()
		start := g.now()
		g.report(Event{Time: start, Stage: name, State: Started})
		value, err := run(g.ctx)
		end := g.now()
		if err != nil {
			if g.ctx.Err() == nil { // else another stage failed, and this one was stopped
				g.report(Event{Time: end, Stage: name, State: Failed, Detail: err.Error(), Elapsed: end.Sub(start)})
			}
			g.cancel(err)
			return
		}
		r.value = value
		g.report(Event{Time: end, Stage: name, State: Finished, Elapsed: end.Sub(start)})
		close(r.done)
	})
	return r
}

// acquire waits for the needed stages and then for a slot; it returns false
// when the graph was cancelled before.
func (g *graph) acquire(needs []dependency) bool {
	for _, n := range needs {
		select {
		case <-n.finished():
		case <-g.ctx.Done():
			return false
		}
	}
	select {
	case g.slots <- struct{}{}:
	case <-g.ctx.Done():
		return false
	}
	if g.ctx.Err() != nil {
		<-g.slots
		return false
	}
	return true
}
