package ingest

import (
	"database/sql"
	"errors"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// The states of a job: the verification of the event that was received last
// for a publication. A job is gone when its publication is published or failed.
const (
	jobQueued    = "queued"
	jobVerifying = "verifying"
)

// job is one verification.
type job struct {
	publicationID string
	received      int64
	event         callback.Event
	digest        string
	platform      Platform
	// claim is a number that nobody else has: with it a worker proves that the
	// job is still its own when it is done.
	claim int64
	// tries counts the claims that ended with the process.
	tries int
}

// errLost says that a job was replaced or taken up by another process.
var errLost = errors.New("the job is no longer ours")

// enqueue files an event. It returns the publication and callback.StatusOK when
// there is nothing to do or callback.StatusQueued.
func (t *tx) enqueue(platformID string, e callback.Event, digest string, newID func() (string, error), now time.Time) (id, outcome string, err error) {
	p, err := t.publication("p.platform_id = ? AND p.artifact_family = ? AND p.arch = ? AND p.git_sha = ?",
		platformID, e.ArtifactFamily, e.Arch, e.GitSHA)
	if errors.Is(err, ErrNotFound) {
		p, err = t.create(platformID, e, newID, now)
	}
	if err != nil {
		return "", "", err
	}
	var pending string
	err = t.row(`SELECT event_digest FROM jobs WHERE publication_id = ?`, p.ID).Scan(&pending)
	switch {
	case err == nil && pending == digest:
		return p.ID, callback.StatusQueued, nil
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return "", "", err
	case err != nil && p.Status == StatusPublished && p.eventDigest == digest:
		return p.ID, callback.StatusOK, t.confirm(p, now)
	}
	if err := t.putJob(p.ID, e, digest); err != nil {
		return "", "", err
	}
	p.UpdatedAt, p.PublicationStatus, p.PublicationError = now, StatusReverifying, ""
	if p.Status != StatusPublished {
		p.claims(e, digest)
		p.Status, p.PublicationStatus = StatusQueued, StatusQueued
	}
	return p.ID, callback.StatusQueued, t.save(p)
}

// confirm clears what a failed update left on a published row: the sender says
// again what is published.
func (t *tx) confirm(p Publication, now time.Time) error {
	if p.PublicationError == "" {
		return nil
	}
	p.PublicationStatus, p.PublicationError, p.UpdatedAt = StatusSuperseded, "", now
	if p.Current {
		p.PublicationStatus = StatusPublished
	}
	return t.save(p)
}

// create adds the row of a publication that nobody has heard of.
func (t *tx) create(platformID string, e callback.Event, newID func() (string, error), now time.Time) (Publication, error) {
	id, err := newID()
	if err != nil {
		return Publication{}, err
	}
	n, err := t.next()
	if err != nil {
		return Publication{}, err
	}
	p := Publication{ID: id, number: n, PlatformID: platformID, ArtifactFamily: e.ArtifactFamily, Arch: e.Arch, GitSHA: e.GitSHA, CreatedAt: now}
	return p, t.insert(p)
}

// putJob makes an event the one to verify, in place of an older one.
func (t *tx) putJob(publicationID string, e callback.Event, digest string) error {
	body, err := e.Encode()
	if err != nil {
		return err
	}
	received, err := t.next()
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO jobs (publication_id, received, event, event_digest, state, claim, tries) VALUES (?, ?, ?, ?, ?, 0, 0)
		ON CONFLICT (publication_id) DO UPDATE SET received = excluded.received, event = excluded.event,
		event_digest = excluded.event_digest, state = excluded.state, claim = 0, tries = 0`,
		publicationID, received, string(body), digest, jobQueued)
}

// resume queues the jobs that a dead process was working at.
func (t *tx) resume(now time.Time) error {
	if err := t.exec(`UPDATE jobs SET state = ?, claim = 0 WHERE state = ?`, jobQueued, jobVerifying); err != nil {
		return err
	}
	return t.exec(`UPDATE publications SET status = ?, publication_status = ?, updated_at = ? WHERE status = ?`,
		StatusQueued, StatusQueued, millis(now), StatusVerifying)
}

// take claims the job that waits longest; ErrNotFound when none does.
func (t *tx) take(now time.Time) (job, error) {
	var j job
	var body, platformID string
	err := t.row(`SELECT j.publication_id, j.received, j.event, j.event_digest, j.tries, p.platform_id
		FROM jobs j JOIN publications p ON p.id = j.publication_id WHERE j.state = ? ORDER BY j.received LIMIT 1`, jobQueued).
		Scan(&j.publicationID, &j.received, &body, &j.digest, &j.tries, &platformID)
	if err != nil {
		return job{}, found("job", err)
	}
	if j.event, err = callback.ParseEvent([]byte(body)); err != nil {
		return job{}, err
	}
	if j.platform, err = t.platform("id", platformID); err != nil {
		return job{}, err
	}
	if j.claim, err = t.next(); err != nil {
		return job{}, err
	}
	j.tries++
	if err := t.exec(`UPDATE jobs SET state = ?, claim = ?, tries = ? WHERE publication_id = ?`, jobVerifying, j.claim, j.tries, j.publicationID); err != nil {
		return job{}, err
	}
	return j, t.exec(`UPDATE publications SET status = ?, publication_status = ?, updated_at = ? WHERE id = ? AND status = ?`,
		StatusVerifying, StatusVerifying, millis(now), j.publicationID, StatusQueued)
}

// release gives a job back that was interrupted in an orderly way.
func (t *tx) release(j job, now time.Time) error {
	n, err := t.change(`UPDATE jobs SET state = ?, claim = 0, tries = tries - 1 WHERE publication_id = ? AND claim = ?`, jobQueued, j.publicationID, j.claim)
	if err != nil {
		return err
	}
	if n == 0 {
		return errLost
	}
	return t.exec(`UPDATE publications SET status = ?, publication_status = ?, updated_at = ? WHERE id = ? AND status = ?`,
		StatusQueued, StatusQueued, millis(now), j.publicationID, StatusVerifying)
}

// finish deletes a job that is still the worker's and returns its publication.
func (t *tx) finish(j job) (Publication, error) {
	n, err := t.change(`DELETE FROM jobs WHERE publication_id = ? AND claim = ?`, j.publicationID, j.claim)
	if err != nil {
		return Publication{}, err
	}
	if n == 0 {
		return Publication{}, errLost
	}
	return t.publication("p.id = ?", j.publicationID)
}

// fail ends a job without a proof. A publication that was published before
// stays so, with the facts it had.
func (t *tx) fail(j job, status, words string, now time.Time) error {
	p, err := t.finish(j)
	if err != nil {
		return err
	}
	if p.Status != StatusPublished {
		p.Status = StatusFailed
	}
	p.PublicationStatus, p.PublicationError, p.UpdatedAt = status, words, now
	return t.save(p)
}

// publish ends a job with a proof and makes the publication current unless a
// later build is.
func (t *tx) publish(j job, ev Evidence, now time.Time) (Publication, error) {
	p, err := t.finish(j)
	if err != nil {
		return p, err
	}
	p.claims(j.event, j.digest)
	p.CosignIdentity, p.CosignIssuer, p.MediaType, p.received = ev.Identity, ev.Issuer, ev.MediaType, j.received
	p.Layers = append(p.Layers, ev.Layers...)
	p.Status, p.PublicationStatus, p.PublicationError = StatusPublished, StatusPublished, ""
	p.UpdatedAt, p.PublishedAt = now, now
	current, err := t.publication("p.platform_id = ? AND p.artifact_family = ? AND p.arch = ? AND p.is_current = ?",
		p.PlatformID, p.ArtifactFamily, p.Arch, true)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && current.ID == p.ID:
		p.Current = true
	case err != nil:
		return p, err
	case later(current, p):
		p.PublicationStatus = StatusSuperseded
	default:
		p.Current = true
		err = t.exec(`UPDATE publications SET is_current = ?, updated_at = ? WHERE id = ?`, false, millis(now), current.ID)
		if err != nil {
			return p, err
		}
	}
	return p, t.save(p)
}

// later reports whether a was built after b or, at the same time, received
// after it.
func later(a, b Publication) bool {
	if c := a.BuiltAt.Compare(b.BuiltAt); c != 0 {
		return c > 0
	}
	return a.received > b.received
}
