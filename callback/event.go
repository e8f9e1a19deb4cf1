package callback

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// MaxBody is the largest body, in bytes, that a sender sends and a receiver
// takes.
const MaxBody = 1 << 20

// FamilyOCI is the one artifact family whose SHA256 and SizeBytes describe the
// image manifest instead of a file.
const FamilyOCI = "oci"

// Event says that one artifact was built and pushed. The fields are encoded in
// this order; the first seven are what platforms have always read, and keep
// name, type and meaning. Digests are lower-case hex without a prefix unless
// said otherwise.
type Event struct {
	PlatformName string `json:"platform_name"`
	GitSHA       string `json:"git_sha"`
	Arch         string `json:"arch"`
	// OCIRef names the manifest by digest: "registry/repository@sha256:…".
	OCIRef string `json:"oci_ref"`
	// SHA256 and SizeBytes (bytes) are those of the family's main file; of the
	// image manifest for the family "oci".
	SHA256      string `json:"sha256"`
	SizeBytes   int64  `json:"size_bytes"`
	FirmwareRef string `json:"firmware_ref"`

	ArtifactFamily string `json:"artifact_family"`
	// BuiltAt is the build epoch, encoded in UTC with whole seconds.
	BuiltAt time.Time `json:"built_at"`
	// OCIDigest is the digest in OCIRef, with "sha256:" in front.
	OCIDigest string `json:"oci_digest"`
	// SBOMURL is "oci://registry/repository@sha256:…", or empty.
	SBOMURL        string `json:"sbom_url"`
	CosignIdentity string `json:"cosign_identity"`
	CosignIssuer   string `json:"cosign_issuer"`
	// ComposefsDigest is the fs-verity digest of root.cfs, RootHash the
	// dm-verity root hash of root.img.
	ComposefsDigest     string `json:"composefs_digest"`
	RootHash            string `json:"roothash"`
	BuildManifestSHA256 string `json:"build_manifest_sha256"`
}

// field is one field of the event's JSON form.
type field struct {
	name  string
	value any // a pointer into the event
}

// fields lists the event's fields in the order of the encoding.
func (e *Event) fields() []field {
	return []field{
		{"platform_name", &e.PlatformName},
		{"git_sha", &e.GitSHA},
		{"arch", &e.Arch},
		{"oci_ref", &e.OCIRef},
		{"sha256", &e.SHA256},
		{"size_bytes", &e.SizeBytes},
		{"firmware_ref", &e.FirmwareRef},
		{"artifact_family", &e.ArtifactFamily},
		{"built_at", &e.BuiltAt},
		{"oci_digest", &e.OCIDigest},
		{"sbom_url", &e.SBOMURL},
		{"cosign_identity", &e.CosignIdentity},
		{"cosign_issuer", &e.CosignIssuer},
		{"composefs_digest", &e.ComposefsDigest},
		{"roothash", &e.RootHash},
		{"build_manifest_sha256", &e.BuildManifestSHA256},
	}
}

// Encode returns the body to send: compact JSON in field order, without a
// newline at its end. The same event always gives the same bytes.
func (e Event) Encode() ([]byte, error) {
	e.BuiltAt = e.BuiltAt.UTC().Truncate(time.Second)
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return nil, fmt.Errorf("encoding event of platform %q: %w", e.PlatformName, err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// MessageID returns the webhook-id of a body: it depends on nothing but the
// body, so that a resend is known as one.
func MessageID(body []byte) string {
	sum := sha256.Sum256(body)
	return "msg_" + hex.EncodeToString(sum[:])
}
