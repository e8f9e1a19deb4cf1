package builder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/families"
)

// Plan says what will be built from what. It is plain data: the same plan
// gives the same bytes on any machine at any time.
type Plan struct {
	FormatVersion int    `json:"format_version"`
	Version       string `json:"version"`
	Platform      string `json:"platform"`
	// Revision is the definition's commit, or, where no repository tracks it,
	// the first 40 digits of the plan's seed.
	Revision string `json:"revision"`
	// Epoch is the one time stamp of the build, in seconds since 1970.
	Epoch            int64  `json:"epoch"`
	DefinitionSHA256 string `json:"definition_sha256"`
	// LockSHA256 is the digest of the lock that gave the inputs, "" for none.
	LockSHA256    string        `json:"lock_sha256,omitempty"`
	OverlayDigest string        `json:"overlay_digest"`
	ESPDigest     string        `json:"esp_digest"`
	Permissions   []spec.Access `json:"permissions"`
	Users         []spec.User   `json:"users,omitempty"`
	Families      []string      `json:"families"`
	DiskSize      int64         `json:"disk_size"`
	// Persist is a partition of disk images; nil means none.
	Persist *families.Persist `json:"persist,omitempty"`
	BaseURL string            `json:"base_url"`
	Boot    Boot              `json:"boot"`
	Targets []Target          `json:"targets"`
}

// Target is the part of a plan for one architecture.
type Target struct {
	Arch string `json:"arch"`
	// InitSHA256 is the digest of the init that the initramfs starts.
	InitSHA256 string   `json:"init_sha256"`
	Packages   Packages `json:"packages"`
	// Root is the root's source when it is not packages.
	Root *RootPin `json:"root,omitempty"`
	// KernelDigest is that of a kernel in files of the build host, with its
	// modules and device trees, "sha256:<hex>"; "" for other kernels.
	KernelDigest string `json:"kernel_digest,omitempty"`
	// Cmdline are the kernel parameters without the root's digests.
	Cmdline []string `json:"cmdline"`
}

// Digest returns the SHA-256 of the plan's JSON form, in hex.
func (p *Plan) Digest() string { return digestOf(p) }

// seed is the digest without the revision and without where the inputs were
// looked up: what identifiers inside artifacts are made from.
func (p *Plan) seed() string {
	q := *p
	q.Revision, q.LockSHA256 = "", ""
	return digestOf(&q)
}

func digestOf(p *Plan) string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // plain data always encodes
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ParsePlan reads a plan's JSON form.
func ParsePlan(data []byte) (*Plan, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var p Plan
	if err := dec.Decode(&p); err != nil {
		return nil, fmt.Errorf("reading a plan: %w", err)
	}
	if p.FormatVersion != FormatVersion {
		return nil, fmt.Errorf("reading a plan: its form has version %d, and this bootsmith knows %d", p.FormatVersion, FormatVersion)
	}
	return &p, nil
}

// time returns the epoch as a time.
func (p *Plan) time() time.Time { return time.Unix(p.Epoch, 0).UTC() }
