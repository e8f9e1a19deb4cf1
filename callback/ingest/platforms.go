package ingest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// What the library's functions wrap; the API answers 404, 409 and 422.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("exists already")
	ErrInvalid  = errors.New("invalid")
)

// Platform is a definition that may publish, and whom to trust for it.
type Platform struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// CosignIdentityRegexp and CosignIssuerRegexp are matched against the whole
	// identity and issuer of the signing certificate.
	CosignIdentityRegexp string `json:"cosign_identity_regexp"`
	CosignIssuerRegexp   string `json:"cosign_issuer_regexp"`
	// OCIRepository, if set, is the repository that events must refer to, or a
	// parent of it: "registry.example.com/acme/disk-images".
	OCIRepository           string    `json:"oci_repository"`
	DiskImageRetentionCount int       `json:"disk_image_retention_count"`
	CreatedAt               time.Time `json:"created_at"`
	UpdatedAt               time.Time `json:"updated_at"`
	// Warnings are about trust patterns that may be wider than meant.
	Warnings []string `json:"warnings,omitempty"`

	number int64
}

// PlatformChange holds the fields to set; nil leaves a field as it is.
type PlatformChange struct {
	CosignIdentityRegexp    *string `json:"cosign_identity_regexp"`
	CosignIssuerRegexp      *string `json:"cosign_issuer_regexp"`
	OCIRepository           *string `json:"oci_repository"`
	DiskImageRetentionCount *int    `json:"disk_image_retention_count"`
}

// DefaultRetention is how many published images of a (family, architecture) a
// platform keeps when nothing else is said.
const DefaultRetention = 3

const maxRetention = 1000

var repositoryPattern = regexp.MustCompile(`\A[A-Za-z0-9\[][A-Za-z0-9.:\]-]*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\z`)

// CreatePlatform adds a platform. A retention count that is not set becomes
// DefaultRetention.
func (s *Service) CreatePlatform(ctx context.Context, name string, c PlatformChange) (Platform, error) {
	id, err := newID(s.cfg.Rand)
	if err != nil {
		return Platform{}, err
	}
	now := s.now()
	p := Platform{ID: id, Name: name, DiskImageRetentionCount: DefaultRetention, CreatedAt: now, UpdatedAt: now}
	c.apply(&p)
	if !callback.ValidName(name) {
		return Platform{}, fmt.Errorf("creating platform: name %q: %w", name, ErrInvalid)
	}
	if err := p.check(); err != nil {
		return Platform{}, fmt.Errorf("creating platform %q: %w", name, err)
	}
	err = s.store.update(ctx, func(t *tx) error {
		switch _, err := t.platform("name", name); {
		case err == nil:
			return ErrConflict
		case !errors.Is(err, ErrNotFound):
			return err
		}
		n, err := t.next()
		if err != nil {
			return err
		}
		return t.exec(`INSERT INTO platforms (id, number, name, cosign_identity_regexp, cosign_issuer_regexp, oci_repository,
			disk_image_retention_count, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			p.ID, n, p.Name, p.CosignIdentityRegexp, p.CosignIssuerRegexp, p.OCIRepository, p.DiskImageRetentionCount, millis(now), millis(now))
	})
	if err != nil {
		return Platform{}, fmt.Errorf("creating platform %q: %w", name, err)
	}
	return p, nil
}

// UpdatePlatform changes a platform. What is published stays published.
func (s *Service) UpdatePlatform(ctx context.Context, id string, c PlatformChange) (Platform, error) {
	var p Platform
	err := s.store.update(ctx, func(t *tx) (err error) {
		if p, err = t.platform("id", id); err != nil {
			return err
		}
		c.apply(&p)
		p.UpdatedAt = s.now()
		if err := p.check(); err != nil {
			return err
		}
		return t.exec(`UPDATE platforms SET cosign_identity_regexp = ?, cosign_issuer_regexp = ?, oci_repository = ?,
			disk_image_retention_count = ?, updated_at = ? WHERE id = ?`,
			p.CosignIdentityRegexp, p.CosignIssuerRegexp, p.OCIRepository, p.DiskImageRetentionCount, millis(p.UpdatedAt), id)
	})
	if err != nil {
		return Platform{}, fmt.Errorf("updating platform %q: %w", id, err)
	}
	return p, nil
}

// Platforms returns platforms, newest first.
func (s *Service) Platforms(ctx context.Context, page Page) (List[Platform], error) {
	var all []Platform
	err := s.store.view(ctx, func(t *tx) error {
		return t.each(func(row scanner) error {
			p, err := scanPlatform(row)
			all = append(all, p)
			return err
		}, platformColumns+` WHERE number < ? ORDER BY number DESC LIMIT ?`, page.before(), page.limit()+1)
	})
	if err != nil {
		return List[Platform]{}, fmt.Errorf("listing platforms: %w", err)
	}
	return cut(all, page, func(p Platform) int64 { return p.number }), nil
}

func (c PlatformChange) apply(p *Platform) {
	set(&p.CosignIdentityRegexp, c.CosignIdentityRegexp)
	set(&p.CosignIssuerRegexp, c.CosignIssuerRegexp)
	set(&p.OCIRepository, c.OCIRepository)
	set(&p.DiskImageRetentionCount, c.DiskImageRetentionCount)
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// check checks the changeable fields and sets Warnings.
func (p *Platform) check() error {
	p.Warnings = nil
	for _, f := range []struct{ name, pattern string }{
		{"cosign_identity_regexp", p.CosignIdentityRegexp}, {"cosign_issuer_regexp", p.CosignIssuerRegexp},
	} {
		warning, err := checkPattern(f.pattern)
		if err != nil {
			return fmt.Errorf("%w %s: %w", ErrInvalid, f.name, err)
		}
		if warning != "" {
			p.Warnings = append(p.Warnings, f.name+": "+warning)
		}
	}
	if p.DiskImageRetentionCount < 1 || p.DiskImageRetentionCount > maxRetention {
		return fmt.Errorf("%w disk_image_retention_count: %d is not between 1 and %d", ErrInvalid, p.DiskImageRetentionCount, maxRetention)
	}
	if p.OCIRepository != "" && (len(p.OCIRepository) > 512 || !repositoryPattern.MatchString(p.OCIRepository)) {
		return fmt.Errorf("%w oci_repository: %q is not a repository", ErrInvalid, p.OCIRepository)
	}
	return nil
}

// allows reports whether events may refer to a repository.
func (p Platform) allows(repository string) bool {
	return p.OCIRepository == "" || repository == p.OCIRepository || strings.HasPrefix(repository, p.OCIRepository+"/")
}

const platformColumns = `SELECT id, number, name, cosign_identity_regexp, cosign_issuer_regexp, oci_repository,
	disk_image_retention_count, created_at, updated_at FROM platforms`

func scanPlatform(row scanner) (Platform, error) {
	var p Platform
	var created, updated int64
	err := row.Scan(&p.ID, &p.number, &p.Name, &p.CosignIdentityRegexp, &p.CosignIssuerRegexp, &p.OCIRepository,
		&p.DiskImageRetentionCount, &created, &updated)
	p.CreatedAt, p.UpdatedAt = fromMillis(created), fromMillis(updated)
	return p, err
}

// platform reads one platform by its column "id" or "name".
func (t *tx) platform(column, value string) (Platform, error) {
	p, err := scanPlatform(t.row(platformColumns+` WHERE `+column+` = ?`, value))
	return p, found("platform", err)
}

// found turns the absence of a row into ErrNotFound.
func found(what string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return err
}
