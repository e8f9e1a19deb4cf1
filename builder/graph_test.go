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
	g := newGraph(context.Background(), 2, time.Now, quiet)
	a := stage(g, "a", nil, func(context.Context) (int, error) { return 20, nil })
	b := stage(g, "b", nil, func(context.Context) (int, error) { return 22, nil })
	sum := stage(g, "sum", []dependency{a, b}, func(context.Context) (int, error) { return a.get() + b.get(), nil })
	if err := g.wait(); err != nil {
		t.Fatal(err)
	}
	if sum.get() != 42 {
		t.Errorf("sum = %d", sum.get())
	}
}

func TestGraphKeepsTheJobLimit(t *testing.T) {
	g := newGraph(context.Background(), 2, time.Now, quiet)
	var running, most atomic.Int32
	for range 10 {
		stage(g, "s", nil, func(context.Context) (struct{}, error) {
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
		})
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
	g := newGraph(context.Background(), 4, time.Now, quiet)
	bad := stage(g, "bad", nil, func(context.Context) (int, error) { return 0, boom })
	long := stage(g, "long", nil, func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
	ran := false
	stage(g, "after", []dependency{bad, long}, func(context.Context) (int, error) { ran = true; return 0, nil })
	if err := g.wait(); !errors.Is(err, boom) {
		t.Errorf("wait = %v", err)
	}
	if ran {
		t.Error("a stage ran although what it needs failed")
	}
}

func TestGraphStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	g := newGraph(ctx, 1, time.Now, quiet)
	stage(g, "long", nil, func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
	cancel()
	if err := g.wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("wait = %v", err)
	}
}
