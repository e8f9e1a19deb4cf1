package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/store"
)

// remoteJobs is how many entries are sent at a time.
const remoteJobs = 2

// remotes are the places beside the cache that a build takes results from and
// gives them to.
type remotes struct {
	from, to cache.Remote
	store    *store.Store
	slots    chan struct{}

	mu     sync.Mutex
	down   bool    // from didn't answer: it isn't asked again
	failed []error // of what was to be sent
}

// failure returns why something could not be sent.
func (r *remotes) failure() error {
	if len(r.failed) == 0 {
		return nil
	}
	return fault.Default(fault.Remote, fmt.Errorf("sending results to the cache %s: %w; the artifacts are complete", r.to.Name(), r.failed[0]))
}

func (r *remotes) isDown() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down
}

// isKnownDown notes that from doesn't answer, and tells whether that was noted
// before.
func (r *remotes) isKnownDown() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.down
	r.down = true
	return known
}

// fetch looks for an entry elsewhere and brings it into the cache. Whatever goes
// wrong there, the stage can still be built.
func (s *stage[T]) fetch(key string) (*cache.Entry, error) {
	r := &s.g.remote
	if r.from == nil || s.local || r.isDown() {
		return nil, fs.ErrNotExist
	}
	err := s.g.cache.Fetch(s.g.ctx, r.from, key, r.store)
	switch {
	case err == nil:
		s.origin = "from " + r.from.Name()
		return s.g.cache.Get(key)
	case errors.Is(err, fs.ErrNotExist) && !cache.IsRejected(err):
		return nil, fs.ErrNotExist
	case cache.IsRejected(err):
		s.replace = true
	case s.g.ctx.Err() == nil && r.isKnownDown():
		return nil, fs.ErrNotExist // another stage told
	}
	return nil, fmt.Errorf("%s: %w", r.from.Name(), err)
}

// send gives an entry to other machines, beside the stages that follow.
func (s *stage[T]) send(e *cache.Entry) {
	r := &s.g.remote
	if r.to == nil || s.local || s.origin == "from "+r.to.Name() {
		return
	}
	s.g.wg.Go(func() {
		select {
		case r.slots <- struct{}{}:
		case <-s.g.ctx.Done():
			return
		}
		defer func() { <-r.slots }()
		if err := s.g.cache.Send(s.g.ctx, r.to, e, r.store, s.replace); err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.failed = append(r.failed, fmt.Errorf("%s: %w", s.name, err))
		}
	})
}
