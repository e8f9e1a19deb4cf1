package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// Publication is one artifact of one revision of a platform. Until it is
// published, its facts are what the event claims, and CosignIdentity,
// CosignIssuer and Layers are empty; then they are what was verified.
type Publication struct {
	ID           string `json:"id"`
	PlatformID   string `json:"platform_id"`
	PlatformName string `json:"platform_name"`

	ArtifactFamily string `json:"artifact_family"`
	Arch           string `json:"arch"`
	GitSHA         string `json:"git_sha"`

	OCIRef              string    `json:"oci_ref"`
	OCIDigest           string    `json:"oci_digest"`
	SHA256              string    `json:"sha256"`
	SizeBytes           int64     `json:"size_bytes"`
	FirmwareRef         string    `json:"firmware_ref"`
	BuiltAt             time.Time `json:"built_at"`
	SBOMURL             string    `json:"sbom_url"`
	CosignIdentity      string    `json:"cosign_identity"`
	CosignIssuer        string    `json:"cosign_issuer"`
	ComposefsDigest     string    `json:"composefs_digest"`
	RootHash            string    `json:"roothash"`
	BuildManifestSHA256 string    `json:"build_manifest_sha256"`
	MediaType           string    `json:"media_type"`
	Layers              []Layer   `json:"layers"`

	Status            string `json:"status"`
	PublicationStatus string `json:"publication_status"`
	PublicationError  string `json:"publication_error"`
	// Current is true for one published row of a (platform, family,
	// architecture).
	Current     bool      `json:"current"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	PublishedAt time.Time `json:"published_at,omitzero"`

	number int64
	// eventDigest is that of the event that the facts come from, received the
	// event's place in the order of arrival.
	eventDigest string
	received    int64
}

// Filter selects publications; the zero value of a field selects all.
type Filter struct {
	Platform string // identifier or name
	Family   string
	Arch     string
	Status   string
	GitSHA   string
	Current  *bool
}

// Publications returns publications, newest first.
func (s *Service) Publications(ctx context.Context, f Filter, page Page) (List[Publication], error) {
	where, args := []string{"p.number < ?"}, []any{page.before()}
	for _, c := range []struct{ column, value string }{
		{"p.artifact_family", f.Family}, {"p.arch", f.Arch}, {"p.status", f.Status}, {"p.git_sha", f.GitSHA},
	} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Platform != "" {
		where, args = append(where, "(p.platform_id = ? OR o.name = ?)"), append(args, f.Platform, f.Platform)
	}
	if f.Current != nil {
		where, args = append(where, "p.is_current = ?"), append(args, *f.Current)
	}
	query := publicationColumns + " WHERE " + strings.Join(where, " AND ") + " ORDER BY p.number DESC LIMIT ?"
	var all []Publication
	err := s.store.view(ctx, func(t *tx) error {
		return t.each(func(row scanner) error {
			p, err := scanPublication(row)
			all = append(all, p)
			return err
		}, query, append(args, page.limit()+1)...)
	})
	if err != nil {
		return List[Publication]{}, fmt.Errorf("listing publications: %w", err)
	}
	return cut(all, page, func(p Publication) int64 { return p.number }), nil
}

// Publication returns one publication.
func (s *Service) Publication(ctx context.Context, id string) (Publication, error) {
	var p Publication
	err := s.store.view(ctx, func(t *tx) (err error) {
		p, err = t.publication("p.id = ?", id)
		return err
	})
	if err != nil {
		return Publication{}, fmt.Errorf("reading publication %q: %w", id, err)
	}
	return p, nil
}

const publicationColumns = `SELECT p.id, p.number, p.platform_id, o.name, p.artifact_family, p.arch, p.git_sha, p.oci_ref, p.oci_digest,
	p.sha256, p.size_bytes, p.firmware_ref, p.built_at, p.sbom_url, p.cosign_identity, p.cosign_issuer, p.composefs_digest, p.roothash,
	p.build_manifest_sha256, p.media_type, p.layers, p.event_digest, p.received, p.status, p.publication_status, p.publication_error,
	p.is_current, p.created_at, p.updated_at, p.published_at
	FROM publications p JOIN platforms o ON o.id = p.platform_id`

func scanPublication(row scanner) (Publication, error) {
	var p Publication
	var layers string
	var built, created, updated, published int64
	err := row.Scan(&p.ID, &p.number, &p.PlatformID, &p.PlatformName, &p.ArtifactFamily, &p.Arch, &p.GitSHA, &p.OCIRef, &p.OCIDigest,
		&p.SHA256, &p.SizeBytes, &p.FirmwareRef, &built, &p.SBOMURL, &p.CosignIdentity, &p.CosignIssuer, &p.ComposefsDigest, &p.RootHash,
		&p.BuildManifestSHA256, &p.MediaType, &layers, &p.eventDigest, &p.received, &p.Status, &p.PublicationStatus, &p.PublicationError,
		&p.Current, &created, &updated, &published)
	if err != nil {
		return p, err
	}
	p.BuiltAt, p.CreatedAt, p.UpdatedAt, p.PublishedAt = fromMillis(built), fromMillis(created), fromMillis(updated), fromMillis(published)
	return p, json.Unmarshal([]byte(layers), &p.Layers)
}

// publication reads one publication by a condition.
func (t *tx) publication(where string, args ...any) (Publication, error) {
	p, err := scanPublication(t.row(publicationColumns+" WHERE "+where, args...))
	return p, found("publication", err)
}

// claims sets the facts to what an event claims.
func (p *Publication) claims(e callback.Event, digest string) {
	p.OCIRef, p.OCIDigest, p.SHA256, p.SizeBytes = e.OCIRef, e.OCIDigest, e.SHA256, e.SizeBytes
	p.FirmwareRef, p.BuiltAt, p.SBOMURL = e.FirmwareRef, e.BuiltAt, e.SBOMURL
	p.ComposefsDigest, p.RootHash, p.BuildManifestSHA256 = e.ComposefsDigest, e.RootHash, e.BuildManifestSHA256
	p.CosignIdentity, p.CosignIssuer, p.MediaType, p.Layers = "", "", "", []Layer{}
	p.eventDigest = digest
}

// save writes everything of a publication but its key.
func (t *tx) save(p Publication) error {
	layers, err := json.Marshal(p.Layers)
	if err != nil {
		return err
	}
	return t.exec(`UPDATE publications SET oci_ref = ?, oci_digest = ?, sha256 = ?, size_bytes = ?, firmware_ref = ?, built_at = ?,
		sbom_url = ?, cosign_identity = ?, cosign_issuer = ?, composefs_digest = ?, roothash = ?, build_manifest_sha256 = ?,
		media_type = ?, layers = ?, event_digest = ?, received = ?, status = ?, publication_status = ?, publication_error = ?,
		is_current = ?, updated_at = ?, published_at = ? WHERE id = ?`,
		p.OCIRef, p.OCIDigest, p.SHA256, p.SizeBytes, p.FirmwareRef, millis(p.BuiltAt),
		p.SBOMURL, p.CosignIdentity, p.CosignIssuer, p.ComposefsDigest, p.RootHash, p.BuildManifestSHA256,
		p.MediaType, string(layers), p.eventDigest, p.received, p.Status, p.PublicationStatus, p.PublicationError,
		p.Current, millis(p.UpdatedAt), millis(p.PublishedAt), p.ID)
}

// insert adds a publication with its key; save follows.
func (t *tx) insert(p Publication) error {
	return t.exec(`INSERT INTO publications (id, number, platform_id, artifact_family, arch, git_sha, created_at, oci_ref, oci_digest, sha256,
		size_bytes, firmware_ref, built_at, sbom_url, cosign_identity, cosign_issuer, composefs_digest, roothash, build_manifest_sha256,
		media_type, layers, event_digest, received, status, publication_status, publication_error, is_current, updated_at, published_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, '', '', '', 0, '', 0, '', '', '', '', '', '', '', '[]', '', 0, '', '', '', FALSE, 0, 0)`,
		p.ID, p.number, p.PlatformID, p.ArtifactFamily, p.Arch, p.GitSHA, millis(p.CreatedAt))
}
