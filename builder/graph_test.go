package builder

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func quiet(Event) {}

func TestGraphPassesValuesOn(t *testing.T) {
	g := newGraph(context.Background(), Config{Jobs: 2, Now: time.Now, Report: quiet})
	a := newStage(g, "a", nil, func(context.Context) (int, error) { return 20, nil })
	b := newStage(g, "b", nil, func(context.Context) (int, error) { return 22, nil })
	sum := newStage(g, "sum", needs(a, b), func(context.Context) (int, error) { return a.get() + b.get(), nil })
	sum.want(true)
	if err := g.wait(); err != nil {
		t.Fatal(err)
	}
	if sum.get() != 42 {
		t.Errorf("sum = %d", sum.get())
	}
}

func TestGraphKeepsTheJobLimit(t *testing.T) {
	g := newGraph(context.Background(), Config{Jobs: 2, Now: time.Now, Report: quiet})
	var running, most atomic.Int32
	for range 10 {
		newStage(g, "s", nil, func(context.Context) (struct{}, error) {
			n := running.Add(1)
			for {
				m := most.Load()
				if n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			time.Sleep(time.Millisecond)
			running.Add(-1)
			return struct{}{}, nil
		}).want(true)
	}
	if err := g.wait(); err != nil {
		t.Fatal(err)
	}
	if most.Load() > 2 {
		t.Errorf("%d stages ran at once", most.Load())
	}
}

func TestGraphStopsAtTheFirstFailure(t *testing.T) {
	boom := errors.New("boom")
	g := newGraph(context.Background(), Config{Jobs: 4, Now: time.Now, Report: quiet})
	bad := newStage(g, "bad", nil, func(context.Context) (int, error) { return 0, boom })
	long := newStage(g, "long", nil, func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
	ran := false
	newStage(g, "after", needs(bad, long), func(context.Context) (int, error) { ran = true; return 0, nil }).want(true)
	if err := g.wait(); !errors.Is(err, boom) {
		t.Errorf("wait = %v", err)
	}
	if ran {
		t.Error("a stage ran although what it needs failed")
	}
}

func TestGraphStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	g := newGraph(ctx, Config{Jobs: 1, Now: time.Now, Report: quiet})
	newStage(g, "long", nil, func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }).want(true)
	cancel()
	if err := g.wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("wait = %v", err)
	}
}

// TestGraphRunsAlong has a stage wait for the one that it is along with: that one
// takes no slot and isn't waited for before.
func TestGraphRunsAlong(t *testing.T) {
	boom := errors.New("boom")
	for _, failure := range []error{nil, boom} {
		g := newGraph(context.Background(), Config{Jobs: 1, Now: time.Now, Report: quiet})
		begun, over := make(chan struct{}), make(chan struct{})
		fetch := newStage(g, "fetch", nil, func(context.Context) (struct{}, error) {
			close(begun)
			<-over
			return struct{}{}, failure
		})
		fetch.waits = true
		unpack := newStage(g, "unpack", along(fetch), func(context.Context) (int, error) {
			<-begun
			close(over)
			return 42, nil
		})
		unpack.want(true)
		if err := g.wait(); err != failure {
			t.Errorf("wait = %v, not %v", err, failure)
		}
		if failure == nil && unpack.get() != 42 {
			t.Errorf("unpack = %d", unpack.get())
		}
	}
}
