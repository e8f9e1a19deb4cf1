package callback

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	namePattern   = regexp.MustCompile(`\A[a-z0-9]+(?:[._-][a-z0-9]+)*\z`)
	gitSHAPattern = regexp.MustCompile(`\A[0-9A-Za-z][0-9A-Za-z._-]*\z`) // stands in an OCI tag
	hexPattern    = regexp.MustCompile(`\A[0-9a-f]{64}\z`)
	// refPattern is the digest form of the reference grammar of OCI Distribution
	// 1.1, with the registry's host mandatory.
	refPattern = regexp.MustCompile(`\A((?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+)@(sha256:[0-9a-f]{64})\z`)
)

// maxText bounds, in bytes, the fields that have no stricter form.
const maxText = 1024

// SplitRef splits "registry/repository@sha256:…" into repository and digest.
func SplitRef(ref string) (repository, digest string, err error) {
	m := refPattern.FindStringSubmatch(ref)
	if m == nil || len(ref) > maxText {
		return "", "", fmt.Errorf("%q is not a reference by digest (registry/repository@sha256:…)", ref)
	}
	return m[1], m[2], nil
}

// ValidName reports whether s may be the name of a platform, an architecture or
// an artifact family: up to 64 lower-case letters and digits, with single dots,
// dashes or underscores between them.
func ValidName(s string) bool { return len(s) <= 64 && namePattern.MatchString(s) }

// Validate checks every field for itself and OCIDigest and SBOMURL against
// OCIRef; the error names the field. FirmwareRef, SBOMURL, CosignIdentity and
// CosignIssuer may be empty, and so may the three digests at the end.
func (e Event) Validate() error {
	for _, check := range []func() error{e.validateNames, e.validateFile, e.validateRefs, e.validateText} {
		if err := check(); err != nil {
			return fmt.Errorf("checking event: %w", err)
		}
	}
	return nil
}

func (e Event) validateNames() error {
	for _, f := range []struct{ name, value string }{
		{"platform_name", e.PlatformName}, {"arch", e.Arch}, {"artifact_family", e.ArtifactFamily},
	} {
		if !ValidName(f.value) {
			return fmt.Errorf("%s: %q is not a name", f.name, clip(f.value))
		}
	}
	if len(e.GitSHA) > 64 || !gitSHAPattern.MatchString(e.GitSHA) {
		return fmt.Errorf("git_sha: %q is not a revision", clip(e.GitSHA))
	}
	return nil
}

func (e Event) validateFile() error {
	if !hexPattern.MatchString(e.SHA256) {
		return fmt.Errorf("sha256: %q is not a SHA-256 digest", clip(e.SHA256))
	}
	if e.SizeBytes <= 0 {
		return fmt.Errorf("size_bytes: %d is not a size", e.SizeBytes)
	}
	if e.BuiltAt.IsZero() {
		return errors.New("built_at: missing")
	}
	if y := e.BuiltAt.UTC().Year(); y < 1970 || y > 9999 {
		return fmt.Errorf("built_at: year %d is out of range", y)
	}
	for _, f := range []struct{ name, value string }{
		{"composefs_digest", e.ComposefsDigest}, {"roothash", e.RootHash}, {"build_manifest_sha256", e.BuildManifestSHA256},
	} {
		if f.value != "" && !hexPattern.MatchString(f.value) {
			return fmt.Errorf("%s: %q is not a SHA-256 digest", f.name, clip(f.value))
		}
	}
	return nil
}

func (e Event) validateRefs() error {
	repository, digest, err := SplitRef(e.OCIRef)
	if err != nil {
		return fmt.Errorf("oci_ref: %w", err)
	}
	if e.OCIDigest != digest {
		return fmt.Errorf("oci_digest: %q is not the digest in oci_ref", clip(e.OCIDigest))
	}
	if e.SBOMURL == "" {
		return nil
	}
	sbom, _, err := SplitRef(strings.TrimPrefix(e.SBOMURL, "oci://"))
	if err != nil || sbom != repository || !strings.HasPrefix(e.SBOMURL, "oci://") {
		// The SBOM is attached to the manifest, so it can't lie elsewhere.
		return fmt.Errorf("sbom_url: %q is not a reference by digest into the repository of oci_ref", clip(e.SBOMURL))
	}
	return nil
}

func (e Event) validateText() error {
	for _, f := range []struct{ name, value string }{
		{"firmware_ref", e.FirmwareRef}, {"cosign_identity", e.CosignIdentity}, {"cosign_issuer", e.CosignIssuer},
	} {
		if len(f.value) > maxText || printable(f.value) != f.value {
			return fmt.Errorf("%s: longer than %d bytes or not printable", f.name, maxText)
		}
	}
	return nil
}

// clip shortens a foreign string for an error message.
func clip(s string) string {
	const n = 100
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// printable replaces what could move a terminal's cursor or split a log line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufffd' {
			return '?'
		}
		return r
	}, s)
}
