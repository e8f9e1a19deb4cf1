package ingest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

const (
	// maxTries is how often a process may die during one verification before
	// it is given up: it may be what kills the process.
	maxTries = 5
	// maxFetches is how often a manifest is asked for that can't be reached.
	maxFetches = 3
	// maxWords bounds publication_error, in bytes.
	maxWords = 2000
)

var statusPattern = regexp.MustCompile(`\A[a-z][a-z_]{0,63}\z`)

// work takes one job after the other until ctx is done.
func (s *Service) work(ctx context.Context) {
	for ctx.Err() == nil {
		var j job
		err := s.store.update(ctx, func(t *tx) (err error) {
			j, err = t.take(s.now())
			return err
		})
		if err == nil {
			s.process(ctx, j)
			continue
		}
		if !errors.Is(err, ErrNotFound) && ctx.Err() == nil {
			s.cfg.Log.Error("taking a verification failed", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-time.After(s.cfg.PollInterval):
		}
	}
}

// process verifies one event and writes down the outcome.
func (s *Service) process(ctx context.Context, j job) {
	log := s.cfg.Log.With("publication", j.publicationID, "platform", j.platform.Name, "family", j.event.ArtifactFamily,
		"arch", j.event.Arch, "git_sha", j.event.GitSHA)
	ev, err := s.prove(ctx, j)
	interrupted := err != nil && ctx.Err() != nil
	// The outcome is written even if the service is asked to stop meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var p Publication
	write := s.store.update(ctx, func(t *tx) (failure error) {
		switch {
		case interrupted:
			return t.release(j, s.now())
		case err != nil:
			return t.fail(j, statusOf(err), clip(err.Error()), s.now())
		}
		p, failure = t.publish(j, ev, s.now())
		return failure
	})
	switch {
	case errors.Is(write, errLost):
		log.Info("verification dropped, a newer one has taken its place")
	case write != nil:
		// The job stays claimed; the next start takes it up.
		log.Error("writing the outcome of a verification failed", "error", write)
	case interrupted:
		log.Info("verification interrupted")
	case err != nil:
		log.Warn("publication failed", "status", statusOf(err), "error", clip(err.Error()))
	default:
		log.Info("published", "status", p.PublicationStatus, "current", p.Current)
	}
}

// prove verifies an event's manifest and compares the two.
func (s *Service) prove(ctx context.Context, j job) (Evidence, error) {
	if j.tries > maxTries {
		return Evidence{}, &VerifyError{StatusVerificationAborted, fmt.Errorf("the process ended %d times during the verification", maxTries)}
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.VerifyTimeout)
	defer cancel()
	r := VerifyRequest{
		OCIRef:         j.event.OCIRef,
		IdentityRegexp: anchor(j.platform.CosignIdentityRegexp),
		IssuerRegexp:   anchor(j.platform.CosignIssuerRegexp),
	}
	ev, err := s.fetch(ctx, r)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = &VerifyError{StatusVerificationTimeout, fmt.Errorf("not verified within %s: %w", s.cfg.VerifyTimeout, err)}
		}
		return Evidence{}, err
	}
	return ev, checkEvidence(j.event, r, ev)
}

// fetch calls the verifier, again when the registry can't be reached.
func (s *Service) fetch(ctx context.Context, r VerifyRequest) (Evidence, error) {
	delay := s.cfg.RetryDelay
	for n := 1; ; n++ {
		ev, err := s.call(ctx, r)
		if err == nil || n == maxFetches || statusOf(err) != StatusManifestUnreachable {
			return ev, err
		}
		select {
		case <-ctx.Done():
			return Evidence{}, err
		case <-time.After(delay):
		}
		delay *= 2
	}
}

// call calls the verifier, which parses what a remote party sent, and survives
// its panic.
func (s *Service) call(ctx context.Context, r VerifyRequest) (ev Evidence, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &VerifyError{StatusVerificationCrashed, fmt.Errorf("the verifier panicked: %v", p)}
		}
	}()
	return s.cfg.Verifier.Verify(ctx, r)
}

// statusOf returns the publication_status of an error.
func statusOf(err error) string {
	var e *VerifyError
	if errors.As(err, &e) && statusPattern.MatchString(e.Status) {
		return e.Status
	}
	return StatusVerificationFailed
}

// clip makes a foreign text fit for the database and the log.
func clip(s string) string {
	if len(s) > maxWords {
		s = s[:maxWords] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
