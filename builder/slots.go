package builder

import (
	"context"
	"slices"
	"sync"
)

// slots are how many stages may run at a time. Of those that wait for one, those
// that take longest come first: none of them is left to run alone at the end.
type slots struct {
	mu      sync.Mutex
	free    int
	long    []chan struct{} // closed when the slot is theirs
	waiting []chan struct{}
}

// acquire takes a slot; false means that ctx was done before.
func (s *slots) acquire(ctx context.Context, long bool) bool {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return s.keep(ctx)
	}
	mine := make(chan struct{})
	queue := &s.waiting
	if long {
		queue = &s.long
	}
	*queue = append(*queue, mine)
	s.mu.Unlock()
	select {
	case <-mine:
		return s.keep(ctx)
	case <-ctx.Done():
	}
	s.mu.Lock()
	at := slices.Index(*queue, mine)
	if at >= 0 {
		*queue = slices.Delete(*queue, at, at+1)
	}
	s.mu.Unlock()
	if at < 0 { // it was given meanwhile
		s.release()
	}
	return false
}

// keep gives a slot back when ctx is done already.
func (s *slots) keep(ctx context.Context) bool {
	if ctx.Err() == nil {
		return true
	}
	s.release()
	return false
}

// release gives a slot to the next stage.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, queue := range []*[]chan struct{}{&s.long, &s.waiting} {
		if len(*queue) > 0 {
			close((*queue)[0])
			*queue = (*queue)[1:]
			return
		}
	}
	s.free++
}
