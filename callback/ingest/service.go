package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Service is an open ingest database with its API and its workers. Its methods
// may be called from several goroutines.
type Service struct {
	cfg    Config
	store  *store
	sealer *sealer
	// decoy stands in for the webhook of a request to none, so that both take
	// the same time.
	decoy sealedWebhook
	// wake has room for one signal per worker.
	wake chan struct{}

	base context.Context // done when the service is closed
	stop context.CancelFunc

	mu     sync.Mutex
	closed bool
	done   chan struct{} // closed when Run has returned; nil before Run
}

// Open opens the database, making or migrating it as needed. Close follows.
func Open(cfg Config) (*Service, error) {
	fail := func(err error) (*Service, error) {
		return nil, fmt.Errorf("opening ingest database %q: %w", cfg.DB, err)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configuring ingest: %w", err)
	}
	s := &Service{cfg: cfg, wake: make(chan struct{}, cfg.Workers)}
	if s.sealer, err = newSealer(cfg.Key, cfg.Rand); err != nil {
		return fail(err)
	}
	if err := s.makeDecoy(); err != nil {
		return fail(err)
	}
	s.base, s.stop = context.WithCancel(context.Background())
	if s.store, err = openStore(s.base, cfg.DB); err != nil {
		s.stop()
		return fail(err)
	}
	return s, nil
}

func (s *Service) makeDecoy() error {
	secret, err := newSecret(s.cfg.Rand)
	if err != nil {
		return err
	}
	s.decoy.id = "decoy"
	s.decoy.secret, err = s.sealer.seal(s.decoy.id, secret)
	return err
}

// Close stops Run, waits for it and closes the database. Verifications that were
// interrupted start again with the next Run.
func (s *Service) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	done := s.done
	s.mu.Unlock()
	s.stop()
	if done != nil {
		<-done
	}
	return s.store.close()
}

// begin claims the right to run the workers.
func (s *Service) begin() (chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("running ingest: the service is closed")
	}
	if s.done != nil {
		return nil, errors.New("running ingest: it ran already")
	}
	s.done = make(chan struct{})
	return s.done, nil
}

// Run verifies and publishes what was received, now and before, until ctx is
// done or the service is closed; then it returns nil. It can be called once.
func (s *Service) Run(ctx context.Context) error {
	done, err := s.begin()
	if err != nil {
		return err
	}
	defer close(done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.base, cancel)()
	err = s.store.update(ctx, func(t *tx) error { return t.resume(s.now()) })
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("resuming verifications: %w", err)
	}
	var workers sync.WaitGroup
	for range s.cfg.Workers {
		workers.Go(func() { s.work(ctx) })
	}
	workers.Wait()
	return nil
}

// notify wakes a worker.
func (s *Service) notify() {
	select {
	case s.wake <- struct{}{}:
	default: // there is a signal for each of them already
	}
}

// now is the clock with the database's precision.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Millisecond) }

func (s *Service) newID() (string, error) { return newID(s.cfg.Rand) }
