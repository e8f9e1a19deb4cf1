package builder

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/powernode/bootsmith/builder/cache"
)

// graph runs the stages that are wanted, each as soon as what it needs is there,
// as many at a time as there are slots. A stage whose result is cached doesn't
// run, and what only it needs isn't wanted. The first failure cancels the rest.
type graph struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	slots  *slots
	report Reporter
	now    func() time.Time
	wg     sync.WaitGroup

	cache   *cache.Cache // nil: nothing is kept
	program string       // whose results the cache's are
	remote  remotes

	stages []planner // all, in the order in which they were added
}

// newGraph returns a graph that runs up to c.Jobs stages at a time.
func newGraph(ctx context.Context, c Config) *graph {
	ctx, cancel := context.WithCancelCause(ctx)
	return &graph{
		ctx: ctx, cancel: cancel, slots: &slots{free: max(1, c.Jobs)}, report: c.Report, now: c.Now,
		cache: c.Cache, program: c.Program,
		remote: remotes{from: c.CacheFrom, to: c.CacheTo, store: c.Store, slots: make(chan struct{}, remoteJobs)},
	}
}

// wait returns after every stage has ended, with the first failure.
func (g *graph) wait() error {
	g.wg.Wait()
	err := context.Cause(g.ctx)
	g.cancel(nil)
	return err
}

// await waits for stages; false means that the graph was cancelled before.
func (g *graph) await(done ...<-chan struct{}) bool {
	for _, d := range done {
		select {
		case <-d:
		case <-g.ctx.Done():
			return false
		}
	}
	return g.ctx.Err() == nil
}

// keeper keeps a stage's results in the cache.
type keeper[T any] interface {
	// save describes a result in e, and returns the result as it is from then
	// on: its files may have moved.
	save(ctx context.Context, c *cache.Cache, e *cache.Entry, value T) (T, error)
	// load returns the result that e describes, its contents unverified.
	load(c *cache.Cache, e *cache.Entry) (T, error)
	// check verifies the contents, and puts them where later stages or the user
	// expect them.
	check(ctx context.Context, c *cache.Cache, e *cache.Entry, value T) error
}

// stage is a node of the graph.
type stage[T any] struct {
	g     *graph
	name  string
	needs []need
	run   func(ctx context.Context) (T, error)
	// identify returns the stage's identity; nil when the result is never
	// cached. Without a cache, kept is nil, too.
	identify func() (identity, bool)
	kept     keeper[T]

	valueOnce, contentOnce, valuedOnce sync.Once

	mu     sync.Mutex // held while the result is looked for or made
	valued chan struct{}
	ready  chan struct{}
	value  T
	entry  *cache.Entry // that value was loaded from
	// waits: it waits for others most of the time, and takes no slot. long: it
	// takes long, and gets a slot before others that wait.
	waits, long bool

	looked bool // in the cache
	// local keeps the results from other machines; replace tells that what
	// another machine has is no good.
	local, replace bool
	origin         string // where the result came from, "" for the cache here

	action Action // that was predicted
}

// newStage adds a stage to the graph.
func newStage[T any](g *graph, name string, needs []need, run func(ctx context.Context) (T, error)) *stage[T] {
	s := &stage[T]{g: g, name: name, needs: needs, run: run, valued: make(chan struct{}), ready: make(chan struct{})}
	g.stages = append(g.stages, s)
	return s
}

// keep makes the stage's results cached ones. identify may wait for a stage; it
// returns false when the graph was cancelled meanwhile.
func (s *stage[T]) keep(identify func() (identity, bool), k keeper[T]) *stage[T] {
	s.identify = identify
	if s.g.cache != nil {
		s.kept = k
	}
	return s
}

// get returns the result. It may be called only in stages that need it, and
// after wait returned without an error.
func (s *stage[T]) get() T { return s.value }

func (s *stage[T]) want(content bool) <-chan struct{} {
	if content {
		s.contentOnce.Do(func() { s.g.wg.Go(s.provide) })
		return s.ready
	}
	s.valueOnce.Do(func() { s.g.wg.Go(s.provideValue) })
	return s.valued
}

// provideValue makes the value available, from the cache if it is there.
func (s *stage[T]) provideValue() {
	s.mu.Lock()
	found := s.lookup()
	s.mu.Unlock()
	if !found {
		s.want(true)
	}
}

// provide makes the whole result available. When it can't, the channels stay
// open: what needs the stage stops through the context.
func (s *stage[T]) provide() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lookup() && s.reuse() || s.build() {
		close(s.ready)
	}
}

// lookup looks for the result in the cache, once.
func (s *stage[T]) lookup() bool {
	if s.looked || s.kept == nil {
		return s.entry != nil
	}
	s.looked = true
	id, ok := s.identify()
	if !ok {
		return false
	}
	e, err := s.g.cache.Get(id.key(s.g.program))
	if errors.Is(err, fs.ErrNotExist) || cache.IsDamage(err) {
		s.missed(err)
		e, err = s.fetch(id.key(s.g.program))
	}
	if err != nil {
		s.missed(err)
		return false
	}
	value, err := s.kept.load(s.g.cache, e)
	if err != nil {
		s.missed(errors.Join(err, s.g.cache.Evict(e)))
		return false
	}
	s.entry = e
	s.publish(value)
	return true
}

// publish makes the value known.
func (s *stage[T]) publish(value T) {
	s.valuedOnce.Do(func() {
		s.value = value
		close(s.valued)
	})
}

// missed tells why the cache's entry is not used, unless there is none.
func (s *stage[T]) missed(err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		s.g.report(Event{Time: s.g.now(), Stage: s.name, State: Progress, Detail: "not taken from the cache: " + err.Error()})
	}
}

// reuse verifies the result that was found. It returns false when it has to be
// made.
func (s *stage[T]) reuse() bool {
	if !s.g.slots.acquire(s.g.ctx, s.long) {
		return false
	}
	defer s.g.slots.release()
	start := s.g.now()
	err := s.kept.check(s.g.ctx, s.g.cache, s.entry, s.value)
	if cache.IsDamage(err) {
		s.missed(errors.Join(err, s.g.cache.Evict(s.entry)))
		return false
	}
	if err != nil {
		s.g.cancel(err)
		return false
	}
	end := s.g.now()
	s.g.report(Event{Time: end, Stage: s.name, State: Cached, Detail: s.origin, Elapsed: end.Sub(start)})
	s.send(s.entry)
	return true
}

// build runs the stage; false means that it failed, or that the graph was
// cancelled before.
func (s *stage[T]) build() bool {
	var done []<-chan struct{}
	for _, n := range s.needs {
		if ready := n.stage.want(n.content); !n.along {
			done = append(done, ready)
		}
	}
	if !s.g.await(done...) {
		return false
	}
	if !s.waits {
		if !s.g.slots.acquire(s.g.ctx, s.long) {
			return false
		}
		defer s.g.slots.release()
	}
	start := s.g.now()
	s.g.report(Event{Time: start, Stage: s.name, State: Started})
	value, err := s.run(s.g.ctx)
	if err == nil {
		value, err = s.save(value)
	}
	end := s.g.now()
	if err != nil {
		if s.g.ctx.Err() == nil { // else another stage failed, and this one was stopped
			s.g.report(Event{Time: end, Stage: s.name, State: Failed, Detail: err.Error(), Elapsed: end.Sub(start)})
		}
		s.g.cancel(err)
		return false
	}
	s.publish(value)
	s.g.report(Event{Time: end, Stage: s.name, State: Finished, Elapsed: end.Sub(start)})
	return true
}
