package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// The reasons for which a webhook is refused, in the order of the checks.
const (
	ReasonBodyTooLarge     = "body_too_large"
	ReasonUnknownWebhook   = "unknown_webhook"
	ReasonBadSignature     = "bad_signature"
	ReasonStaleTimestamp   = "stale_timestamp"
	ReasonBadJSON          = "bad_json"
	ReasonUnknownPlatform  = "unknown_platform"
	ReasonPlatformMismatch = "platform_mismatch" // the webhook is another platform's
	ReasonInvalidPayload   = "invalid_payload"
	ReasonRepository       = "repository_not_allowed"
)

// maxFuture is how far built_at may lie ahead of the clock: a build from the
// future would stay current whatever is built after it.
const maxFuture = 24 * time.Hour

// refusal is an event that is not taken.
type refusal struct{ reason, words string }

func (r *refusal) Error() string { return r.reason + ": " + r.words }

func refuse(reason, format string, args ...any) error {
	return &refusal{reason, fmt.Sprintf(format, args...)}
}

// request is a webhook request as it was read.
type request struct {
	webhookID string // "" when the URL names none
	header    http.Header
	body      []byte
}

// receive answers a webhook request once the event is on disk. Only a failure of
// the database is an error; a refusal is an answer.
func (s *Service) receive(ctx context.Context, r request) (callback.Response, error) {
	hook, delivery, err := s.authenticate(ctx, r)
	var id, outcome string
	if err == nil {
		id, outcome, err = s.file(ctx, hook, delivery, r.body)
	}
	var no *refusal
	if !errors.As(err, &no) {
		return callback.Response{Success: true, Status: outcome, PublicationID: id}, err
	}
	s.cfg.Log.Warn("webhook refused", "webhook", hook.id, "reason", no.reason, "error", no.words)
	if hook.id != "" {
		a := s.attempt(delivery, r.body)
		a.Outcome, a.Reason = callback.StatusError, no.reason
		if err := s.store.update(ctx, func(t *tx) error { return t.record(hook.id, a) }); err != nil {
			return callback.Response{}, err
		}
	}
	return callback.Response{Success: true, Status: callback.StatusError, Reason: no.reason, Message: no.words}, nil
}

// authenticate finds the webhook whose secret signed a request. On a refusal the
// webhook is the one that the URL names, if it does.
func (s *Service) authenticate(ctx context.Context, r request) (hook sealedWebhook, d callback.Delivery, err error) {
	hooks, missing, err := s.candidates(ctx, r)
	if err != nil {
		return sealedWebhook{}, d, err
	}
	verdict := callback.ErrSignature
	if len(hooks) == 0 {
		hooks = []sealedWebhook{s.decoy}
	}
	for _, h := range hooks {
		secret, err := s.sealer.open(h.id, h.secret)
		if err != nil {
			return sealedWebhook{}, d, err
		}
		delivery, err := callback.Verify(r.header, r.body, s.cfg.Now(), callback.Tolerance, secret)
		if !errors.Is(err, callback.ErrSignature) {
			hook, d, verdict = h, delivery, err
		}
	}
	switch {
	case missing != nil:
		return sealedWebhook{}, callback.Delivery{}, missing
	case errors.Is(verdict, callback.ErrSignature):
		if r.webhookID != "" {
			hook = hooks[0]
		}
		return hook, d, refuse(ReasonBadSignature, "%v", callback.ErrSignature)
	case errors.Is(verdict, callback.ErrStale):
		return hook, d, refuse(ReasonStaleTimestamp, "%v", callback.ErrStale)
	}
	return hook, d, verdict
}

// candidates returns the webhooks whose secret may have signed a request. When
// there is none, missing says what to answer, after as much work as if there
// were.
func (s *Service) candidates(ctx context.Context, r request) (hooks []sealedWebhook, missing, err error) {
	if r.webhookID != "" {
		err = s.store.view(ctx, func(t *tx) (err error) {
			hooks, err = t.webhooks("id", r.webhookID)
			return err
		})
		if len(hooks) == 0 {
			missing = refuse(ReasonUnknownWebhook, "there is no such webhook")
		}
		return hooks, missing, err
	}
	// Without a webhook in the URL the platform's name must be read before the
	// signature is known.
	e, missing := parse(r.body)
	if missing != nil {
		return nil, missing, nil
	}
	err = s.store.view(ctx, func(t *tx) error {
		p, err := t.platform("name", e.PlatformName)
		if errors.Is(err, ErrNotFound) {
			missing = unknownPlatform(e)
			return nil
		}
		if err == nil {
			hooks, err = t.webhooks("platform_id", p.ID)
		}
		return err
	})
	if missing == nil && len(hooks) == 0 {
		missing = refuse(ReasonUnknownWebhook, "the platform has no webhook")
	}
	return hooks, missing, err
}

// file checks an authentic event and puts it into the queue.
func (s *Service) file(ctx context.Context, hook sealedWebhook, d callback.Delivery, body []byte) (id, outcome string, err error) {
	e, err := parse(body)
	if err != nil {
		return "", "", err
	}
	canonical, err := e.Encode()
	if err != nil {
		return "", "", refuse(ReasonInvalidPayload, "%v", err)
	}
	a := s.attempt(d, body)
	err = s.store.update(ctx, func(t *tx) error {
		p, err := t.platform("id", hook.platformID)
		if err != nil {
			return err
		}
		if err := s.admit(t, p, e); err != nil {
			return err
		}
		id, outcome, err = t.enqueue(p.ID, e, hexSum(canonical), s.newID, s.now())
		if err != nil {
			return err
		}
		a.Outcome, a.PublicationID = outcome, id
		return t.record(hook.id, a)
	})
	if err == nil && outcome == callback.StatusQueued {
		s.notify()
	}
	return id, outcome, err
}

// admit checks an event's values for the platform of its webhook.
func (s *Service) admit(t *tx, p Platform, e callback.Event) error {
	if e.PlatformName != p.Name {
		_, err := t.platform("name", e.PlatformName)
		switch {
		case errors.Is(err, ErrNotFound):
			return unknownPlatform(e)
		case err != nil:
			return err
		}
		return refuse(ReasonPlatformMismatch, "the webhook is not platform %q's", e.PlatformName)
	}
	if err := e.Validate(); err != nil {
		return refuse(ReasonInvalidPayload, "%v", err)
	}
	if e.BuiltAt.After(s.cfg.Now().Add(maxFuture)) {
		return refuse(ReasonInvalidPayload, "checking event: built_at: lies more than %s in the future", maxFuture)
	}
	repository, _, err := callback.SplitRef(e.OCIRef)
	if err != nil || !p.allows(repository) {
		return refuse(ReasonRepository, "the platform takes no artifacts from %q", repository)
	}
	return nil
}

// parse decodes a body.
func parse(body []byte) (callback.Event, error) {
	if !json.Valid(body) {
		return callback.Event{}, refuse(ReasonBadJSON, "the body is not JSON")
	}
	e, err := callback.ParseEvent(body)
	if err != nil {
		return callback.Event{}, refuse(ReasonInvalidPayload, "%v", err)
	}
	return e, nil
}

func unknownPlatform(e callback.Event) error {
	return refuse(ReasonUnknownPlatform, "there is no platform %q", clip(e.PlatformName))
}

// attempt begins the record of a request.
func (s *Service) attempt(d callback.Delivery, body []byte) Attempt {
	return Attempt{ReceivedAt: s.now(), MessageID: d.ID, BodySHA256: hexSum(body)}
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
