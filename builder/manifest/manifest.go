// Package manifest is the file build-manifest.json: what a build made of one
// platform for one architecture. It is the hand-over from `build` to `publish`
// and the document that consumers of build.sh read, whose field names it keeps.
package manifest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// File names in build/<arch>/.
const (
	FileName      = "build-manifest.json"
	ChecksumsName = "SHA256SUMS"
	SPDXName      = "sbom.spdx.json"
	CycloneDXName = "sbom.cdx.json"
)

// SchemaVersion is the version of the document's form.
const SchemaVersion = 2

// maxSize bounds what Read takes, in bytes.
const maxSize = 16 << 20

// Manifest describes build/<arch>/. Paths are slash-separated and relative to
// that folder. Digests are lower-case hex without a prefix, except those named
// "…Digest" with "sha256:" in front, which are OCI digests.
type Manifest struct {
	SchemaVersion int    `json:"schema_version"`
	Platform      string `json:"platform"`
	Arch          string `json:"arch"`
	// BaseImageDigest is the OCI digest of the base image, when the root came
	// from one.
	BaseImageDigest string `json:"base_image_digest"`
	// AptSnapshot is the Date of the archive's Release file, RFC 3339, when
	// the root came from packages.
	AptSnapshot   string   `json:"apt_snapshot"`
	KernelVersion string   `json:"kernel_version"`
	GitSHA        string   `json:"git_sha"`
	Variants      []string `json:"variants"`
	// Artifacts maps the path of every file that was built to its digest.
	Artifacts map[string]File `json:"artifacts"`
	// OCIDigest is the digest of the oci family's image manifest.
	OCIDigest string `json:"oci_digest"`
	// FsverityRootHash is the fs-verity digest of root.cfs, the root digest;
	// ComposefsDigest repeats it under the name of the webhook.
	FsverityRootHash string `json:"fsverity_root_hash"`
	ComposefsDigest  string `json:"composefs_digest"`
	// RootHash is the dm-verity root hash of root.img.
	RootHash string `json:"roothash"`
	Cmdline  string `json:"cmdline"`
	// Created is the build epoch, not the time of day.
	Created    time.Time `json:"created"`
	PlanDigest string    `json:"plan_digest"`
	// DefinitionSHA256 is the digest of platform.yaml.
	DefinitionSHA256 string `json:"definition_sha256"`
	// LockSHA256 is the digest of the platform.lock that gave the inputs, ""
	// when there was none.
	LockSHA256 string `json:"lock_sha256,omitempty"`
	// Families holds one entry per family, in build order.
	Families []Family `json:"families"`
	// Inputs are the verified packages that went into the build, sorted.
	Inputs []Package `json:"inputs"`
	// Tools names what shaped the bytes: bootsmith's version and the pinned
	// compressors.
	Tools map[string]string `json:"tools"`
}

// File is a file's size in bytes and SHA-256 digest.
type File struct {
	SHA256    string `json:"sha256"`
	SizeBytes int64  `json:"size_bytes"`
}

// Family lists the files of one family.
type Family struct {
	Name string `json:"name"`
	// Main is the path of the file that stands for the family in the webhook.
	Main  string       `json:"main"`
	Files []FamilyFile `json:"files"`
}

// FamilyFile is a path and the media type it is pushed under.
type FamilyFile struct {
	Path      string `json:"path"`
	MediaType string `json:"media_type"`
}

// Package is one input package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	SHA256  string `json:"sha256"`
	// Use is "root", "kernel" or "stub".
	Use string `json:"use"`
}

// FamilySize returns the size of all files of a family in bytes: what stands for
// it in the webhook may be only one of many.
func (m *Manifest) FamilySize(name string) int64 {
	var size int64
	for _, f := range m.Families {
		if f.Name != name {
			continue
		}
		for _, file := range f.Files {
			size += m.Artifacts[file.Path].SizeBytes
		}
	}
	return size
}

// Read reads dir/build-manifest.json.
func Read(dir string) (*Manifest, error) {
	f, err := os.Open(filepath.Join(dir, FileName))
	if err != nil {
		return nil, fmt.Errorf("reading the build manifest: %w", err)
	}
	defer f.Close()
	dec := json.NewDecoder(io.LimitReader(f, maxSize))
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("reading %q: %w", f.Name(), err)
	}
	if m.SchemaVersion != SchemaVersion {
		return nil, fmt.Errorf("reading %q: schema_version %d is not %d", f.Name(), m.SchemaVersion, SchemaVersion)
	}
	return &m, nil
}

// Encode returns the document as it is stored: indented, keys in a fixed order,
// one line feed at the end.
func (m *Manifest) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the build manifest: %w", err)
	}
	return append(b, '\n'), nil
}
