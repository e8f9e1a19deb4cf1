package ingest

// migrations bring a database from version i to i+1. One that was released is
// never changed; a new one is added at the end. The statements are meant for
// SQLite and PostgreSQL alike: times are milliseconds since 1970 (0: not yet),
// identifiers text, and the numbers that order rows come from the table
// counters instead of a dialect's own sequence.
var migrations = [][]string{
	{
		`CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)`,
		`INSERT INTO counters (name, value) VALUES ('sequence', 0)`,
		`CREATE TABLE platforms (
			id TEXT PRIMARY KEY,
			number BIGINT NOT NULL UNIQUE,
			name TEXT NOT NULL UNIQUE,
			cosign_identity_regexp TEXT NOT NULL,
			cosign_issuer_regexp TEXT NOT NULL,
			oci_repository TEXT NOT NULL,
			disk_image_retention_count INTEGER NOT NULL,
			created_at BIGINT NOT NULL,
			updated_at BIGINT NOT NULL
		)`,
		`CREATE TABLE webhooks (
			id TEXT PRIMARY KEY,
			number BIGINT NOT NULL UNIQUE,
			platform_id TEXT NOT NULL REFERENCES platforms (id),
			sealed_secret TEXT NOT NULL,
			created_at BIGINT NOT NULL,
			revoked_at BIGINT NOT NULL
		)`,
		`CREATE INDEX webhooks_platform ON webhooks (platform_id)`,
		`CREATE TABLE publications (
			id TEXT PRIMARY KEY,
			number BIGINT NOT NULL UNIQUE,
			platform_id TEXT NOT NULL REFERENCES platforms (id),
			artifact_family TEXT NOT NULL,
			arch TEXT NOT NULL,
			git_sha TEXT NOT NULL,
			oci_ref TEXT NOT NULL,
			oci_digest TEXT NOT NULL,
			sha256 TEXT NOT NULL,
			size_bytes BIGINT NOT NULL,
			firmware_ref TEXT NOT NULL,
			built_at BIGINT NOT NULL,
			sbom_url TEXT NOT NULL,
			cosign_identity TEXT NOT NULL,
			cosign_issuer TEXT NOT NULL,
			composefs_digest TEXT NOT NULL,
			roothash TEXT NOT NULL,
			build_manifest_sha256 TEXT NOT NULL,
			media_type TEXT NOT NULL,
			layers TEXT NOT NULL,
			event_digest TEXT NOT NULL,
			received BIGINT NOT NULL,
			status TEXT NOT NULL,
			publication_status TEXT NOT NULL,
			publication_error TEXT NOT NULL,
			is_current BOOLEAN NOT NULL,
			created_at BIGINT NOT NULL,
			updated_at BIGINT NOT NULL,
			published_at BIGINT NOT NULL,
			UNIQUE (platform_id, artifact_family, arch, git_sha)
		)`,
		// The database itself refuses a second current publication.
		`CREATE UNIQUE INDEX publications_current ON publications (platform_id, artifact_family, arch) WHERE is_current`,
		`CREATE TABLE jobs (
			publication_id TEXT PRIMARY KEY REFERENCES publications (id),
			received BIGINT NOT NULL UNIQUE,
			event TEXT NOT NULL,
			event_digest TEXT NOT NULL,
			state TEXT NOT NULL,
			claim BIGINT NOT NULL,
			tries INTEGER NOT NULL
		)`,
		`CREATE TABLE attempts (
			number BIGINT PRIMARY KEY,
			webhook_id TEXT NOT NULL REFERENCES webhooks (id),
			received_at BIGINT NOT NULL,
			outcome TEXT NOT NULL,
			reason TEXT NOT NULL,
			message_id TEXT NOT NULL,
			replayed BOOLEAN NOT NULL,
			body_sha256 TEXT NOT NULL,
			publication_id TEXT NOT NULL
		)`,
		`CREATE INDEX attempts_webhook ON attempts (webhook_id, number)`,
	},
}
