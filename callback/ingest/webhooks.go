package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// Webhook lets one sender report the builds of one platform.
type Webhook struct {
	ID         string    `json:"id"`
	PlatformID string    `json:"platform_id"`
	CreatedAt  time.Time `json:"created_at"`
}

// Attempt is one request to a webhook.
type Attempt struct {
	ReceivedAt time.Time `json:"received_at"`
	Outcome    string    `json:"outcome"` // callback.StatusOK, …Queued, …Error
	Reason     string    `json:"reason"`
	// MessageID is the verified webhook-id, Replayed whether it had come before.
	MessageID     string `json:"message_id"`
	Replayed      bool   `json:"replayed"`
	BodySHA256    string `json:"body_sha256"`
	PublicationID string `json:"publication_id"`
}

const (
	// maxAttempts is how many attempts of a webhook are kept.
	maxAttempts = 100
	// maxWebhooks bounds the secrets that are tried for one request.
	maxWebhooks = 20
)

// CreateWebhook adds a webhook to a platform. The secret is returned here and
// never again.
func (s *Service) CreateWebhook(ctx context.Context, platformID string) (Webhook, callback.Secret, error) {
	id, err := newID(s.cfg.Rand)
	if err != nil {
		return Webhook{}, "", err
	}
	secret, err := newSecret(s.cfg.Rand)
	if err != nil {
		return Webhook{}, "", err
	}
	return s.AddWebhook(ctx, platformID, id, secret)
}

// AddWebhook adds a webhook whose identifier and secret exist already, because
// they were handed out by another system.
func (s *Service) AddWebhook(ctx context.Context, platformID, id string, secret callback.Secret) (Webhook, callback.Secret, error) {
	fail := func(err error) (Webhook, callback.Secret, error) {
		return Webhook{}, "", fmt.Errorf("creating webhook: %w", err)
	}
	if err := secret.Check(); err != nil {
		return fail(fmt.Errorf("%w: %w", ErrInvalid, err))
	}
	if !callback.ValidName(id) {
		return fail(fmt.Errorf("%w identifier %q", ErrInvalid, id))
	}
	sealed, err := s.sealer.seal(id, secret)
	if err != nil {
		return fail(err)
	}
	w := Webhook{ID: id, PlatformID: platformID, CreatedAt: s.now()}
	err = s.store.update(ctx, func(t *tx) error {
		if _, err := t.platform("id", platformID); err != nil {
			return err
		}
		var count, same int
		if err := t.row(`SELECT COUNT(*) FROM webhooks WHERE platform_id = ? AND revoked_at = 0`, platformID).Scan(&count); err != nil {
			return err
		}
		if count >= maxWebhooks {
			return fmt.Errorf("%w: the platform has %d webhooks", ErrInvalid, count)
		}
		if err := t.row(`SELECT COUNT(*) FROM webhooks WHERE id = ?`, id).Scan(&same); err != nil {
			return err
		}
		if same > 0 {
			return ErrConflict
		}
		n, err := t.next()
		if err != nil {
			return err
		}
		return t.exec(`INSERT INTO webhooks (id, number, platform_id, sealed_secret, created_at, revoked_at) VALUES (?, ?, ?, ?, ?, 0)`,
			w.ID, n, platformID, sealed, millis(w.CreatedAt))
	})
	if err != nil {
		return fail(err)
	}
	return w, secret, nil
}

// RecentAttempts returns the last requests to a webhook, newest first.
func (s *Service) RecentAttempts(ctx context.Context, webhookID string) ([]Attempt, error) {
	var all []Attempt
	err := s.store.view(ctx, func(t *tx) error {
		var id string
		if err := found("webhook", t.row(`SELECT id FROM webhooks WHERE id = ?`, webhookID).Scan(&id)); err != nil {
			return err
		}
		return t.each(func(row scanner) error {
			var a Attempt
			var at int64
			err := row.Scan(&at, &a.Outcome, &a.Reason, &a.MessageID, &a.Replayed, &a.BodySHA256, &a.PublicationID)
			a.ReceivedAt = fromMillis(at)
			all = append(all, a)
			return err
		}, `SELECT received_at, outcome, reason, message_id, replayed, body_sha256, publication_id FROM attempts
			WHERE webhook_id = ? ORDER BY number DESC LIMIT ?`, webhookID, maxAttempts)
	})
	if err != nil {
		return nil, fmt.Errorf("listing attempts of webhook %q: %w", webhookID, err)
	}
	return all, nil
}

// record adds an attempt and forgets the oldest ones.
func (t *tx) record(webhookID string, a Attempt) error {
	n, err := t.next()
	if err != nil {
		return err
	}
	if a.MessageID != "" {
		var before int
		if err := t.row(`SELECT COUNT(*) FROM attempts WHERE webhook_id = ? AND message_id = ?`, webhookID, a.MessageID).Scan(&before); err != nil {
			return err
		}
		a.Replayed = before > 0
	}
	if err := t.exec(`INSERT INTO attempts (number, webhook_id, received_at, outcome, reason, message_id, replayed, body_sha256, publication_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		n, webhookID, millis(a.ReceivedAt), a.Outcome, a.Reason, a.MessageID, a.Replayed, a.BodySHA256, a.PublicationID); err != nil {
		return err
	}
	return t.exec(`DELETE FROM attempts WHERE webhook_id = ? AND number <=
		(SELECT number FROM attempts WHERE webhook_id = ? ORDER BY number DESC LIMIT 1 OFFSET ?)`, webhookID, webhookID, maxAttempts)
}

// sealedWebhook is a webhook that may be used, as the database holds it.
type sealedWebhook struct {
	id, platformID, secret string
}

// webhooks reads the webhooks in use by their column "id" or "platform_id".
func (t *tx) webhooks(column, value string) ([]sealedWebhook, error) {
	var all []sealedWebhook
	err := t.each(func(row scanner) error {
		var w sealedWebhook
		err := row.Scan(&w.id, &w.platformID, &w.secret)
		all = append(all, w)
		return err
	}, `SELECT id, platform_id, sealed_secret FROM webhooks WHERE `+column+` = ? AND revoked_at = 0 ORDER BY number LIMIT ?`, value, maxWebhooks)
	return all, err
}
