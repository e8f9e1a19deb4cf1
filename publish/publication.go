package publish

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
)

// PublicationName is the name of the file that `publish` writes into the build
// folder and `notify` reads.
const PublicationName = "publication.json"

// publicationVersion is the version of the file's form.
const publicationVersion = 1

// maxPublication bounds the file, in bytes.
const maxPublication = 4 << 20

// Publications is the file publication.json: what is in the registry now.
type Publications struct {
	SchemaVersion int    `json:"schema_version"`
	Platform      string `json:"platform"`
	// Repository is "registry/path" without tag or digest.
	Repository   string        `json:"repository"`
	GitSHA       string        `json:"git_sha"`
	Index        Index         `json:"index"`
	Publications []Publication `json:"publications"`
}

// Index is the OCI index of a build.
type Index struct {
	Digest string `json:"digest"` // "sha256:…"
	Tag    string `json:"tag"`
}

// Publication is one published artifact.
type Publication struct {
	Arch   string `json:"arch"`
	Family string `json:"family"`
	// OCIRef is "registry/path@sha256:…", OCIDigest its digest.
	OCIRef    string `json:"oci_ref"`
	OCIDigest string `json:"oci_digest"`
	Tag       string `json:"tag"`
	// SHA256 (hex) and SizeBytes are those of the family's main file; an image
	// is its manifest.
	SHA256    string `json:"sha256"`
	SizeBytes int64  `json:"size_bytes"`
	// SBOMURL is "oci://registry/path@sha256:…": the referrer that holds the
	// SPDX attestation.
	SBOMURL             string `json:"sbom_url"`
	ComposefsDigest     string `json:"composefs_digest"`
	RootHash            string `json:"roothash"`
	BuildManifestSHA256 string `json:"build_manifest_sha256"`
	BuiltAt             string `json:"built_at"` // RFC 3339
	CosignIdentity      string `json:"cosign_identity"`
	CosignIssuer        string `json:"cosign_issuer"`
}

// PublicationPredicate is the predicate of the publication statement: what the
// webhook's payload must agree with.
type PublicationPredicate struct {
	PlatformName        string `json:"platform_name"`
	GitSHA              string `json:"git_sha"`
	Arch                string `json:"arch"`
	ArtifactFamily      string `json:"artifact_family"`
	SHA256              string `json:"sha256"`
	SizeBytes           int64  `json:"size_bytes"`
	BuiltAt             string `json:"built_at"`
	ComposefsDigest     string `json:"composefs_digest"`
	RootHash            string `json:"roothash"`
	BuildManifestSHA256 string `json:"build_manifest_sha256"`
}

func (a *artifact) publication() PublicationPredicate {
	m := a.build.manifest
	return PublicationPredicate{
		PlatformName: m.Platform, GitSHA: m.GitSHA, Arch: m.Arch, ArtifactFamily: a.family.Name,
		SHA256: a.main.SHA256, SizeBytes: a.main.SizeBytes, BuiltAt: stamp(m.Created),
		ComposefsDigest: m.ComposefsDigest, RootHash: m.RootHash, BuildManifestSHA256: a.build.sha256,
	}
}

// ReadPublications reads dir/publication.json.
func ReadPublications(dir string) (*Publications, error) {
	path := filepath.Join(dir, PublicationName)
	raw, err := readBounded(path, maxPublication)
	if err != nil {
		return nil, fault.Inputf("reading what was published: %w", err).WithFix("publish the build first")
	}
	p, err := parsePublications(raw)
	if err != nil {
		return nil, fault.Inputf("reading %q: %w", path, err)
	}
	return p, nil
}

func parsePublications(raw []byte) (*Publications, error) {
	var p Publications
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	if p.SchemaVersion != publicationVersion {
		return nil, fmt.Errorf("schema_version %d is not %d", p.SchemaVersion, publicationVersion)
	}
	return &p, nil
}

// Write writes dir/publication.json, whole or not at all.
func (p *Publications) Write(dir string) error {
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", PublicationName, err)
	}
	path := filepath.Join(dir, PublicationName)
	if err := writeFile(path, append(raw, '\n')); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

func writeFile(path string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".part-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// cutDigest splits "sha256:…".
func cutDigest(d string) (algorithm, hex string, ok bool) {
	algorithm, hex, ok = strings.Cut(d, ":")
	return algorithm, hex, ok && hex != ""
}
