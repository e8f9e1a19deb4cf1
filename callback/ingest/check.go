package ingest

import (
	"fmt"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// revisionAnnotation is the commit that a manifest says it was built from (OCI
// Image 1.1, predefined annotation keys).
const revisionAnnotation = "org.opencontainers.image.revision"

// checkEvidence compares what the event claims with what was proven.
func checkEvidence(e callback.Event, r VerifyRequest, ev Evidence) error {
	if err := checkSigner(r, ev); err != nil {
		return &VerifyError{Status: StatusCosignVerifyFailed, Err: err}
	}
	if err := checkDigests(e, ev); err != nil {
		return &VerifyError{Status: StatusDigestMismatch, Err: err}
	}
	if len(ev.Publication) == 0 {
		return &VerifyError{Status: StatusPredicateMissing, Err: fmt.Errorf("%s has no signed publication statement", e.OCIDigest)}
	}
	if err := checkPredicate(e, ev); err != nil {
		return &VerifyError{Status: StatusPredicateMismatch, Err: err}
	}
	return nil
}

// checkDigests finds the event's file in the manifest. For the family "oci" the
// file is the manifest.
func checkDigests(e callback.Event, ev Evidence) error {
	if ev.ManifestDigest != e.OCIDigest {
		return fmt.Errorf("the manifest's digest is %s, the event says %s", ev.ManifestDigest, e.OCIDigest)
	}
	files := ev.Layers
	if e.ArtifactFamily == callback.FamilyOCI {
		files = []Layer{{Title: "the manifest", Digest: ev.ManifestDigest, Size: ev.ManifestSize}}
	}
	for _, f := range files {
		if f.Digest != "sha256:"+e.SHA256 {
			continue
		}
		if f.Size != e.SizeBytes {
			return fmt.Errorf("%q has %d bytes, the event says %d", f.Title, f.Size, e.SizeBytes)
		}
		return nil
	}
	return fmt.Errorf("no file of the manifest has the event's SHA-256 %s", e.SHA256)
}

// checkPredicate compares the event with the signed publication predicate field
// by field; a field that is absent there counts as empty. The error names the
// first field that differs.
func checkPredicate(e callback.Event, ev Evidence) error {
	signed, err := callback.ParseEvent(ev.Publication)
	if err != nil {
		return fmt.Errorf("reading the signed publication statement: %w", err)
	}
	for _, f := range []struct {
		name          string
		claim, signed any
	}{
		{"platform_name", e.PlatformName, signed.PlatformName},
		{"git_sha", e.GitSHA, signed.GitSHA},
		{"arch", e.Arch, signed.Arch},
		{"artifact_family", e.ArtifactFamily, signed.ArtifactFamily},
		{"sha256", e.SHA256, signed.SHA256},
		{"size_bytes", e.SizeBytes, signed.SizeBytes},
		{"built_at", e.BuiltAt.UTC().Format(time.RFC3339Nano), signed.BuiltAt.UTC().Format(time.RFC3339Nano)},
		{"composefs_digest", e.ComposefsDigest, signed.ComposefsDigest},
		{"roothash", e.RootHash, signed.RootHash},
		{"build_manifest_sha256", e.BuildManifestSHA256, signed.BuildManifestSHA256},
		{"firmware_ref", e.FirmwareRef, signed.FirmwareRef},
	} {
		if f.claim != f.signed {
			return fmt.Errorf("%s: the event says %q, the signed publication statement %q", f.name, fmt.Sprint(f.claim), fmt.Sprint(f.signed))
		}
	}
	if revision, ok := ev.Annotations[revisionAnnotation]; ok && revision != e.GitSHA {
		return fmt.Errorf("git_sha: the event says %q, the manifest %q", e.GitSHA, revision)
	}
	return nil
}
