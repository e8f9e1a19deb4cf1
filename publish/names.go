// Package publish puts a build into an OCI registry, signs it keylessly and
// verifies what was published.
//
// Every artifact (one family for one architecture) becomes one manifest; its
// signature, SBOMs, provenance and publication statement are attached to it as
// OCI referrers, each a Sigstore bundle. Publishing twice sends nothing twice:
// what the registry has and what is signed already stays as it is.
//
// # Bundles beside disk images
//
// The raw family's manifest carries two bundles as layers. Cosign 2 up to 2.5,
// which distributions ship, cannot read a bundle with an entry of a Rekor v2 log
// ("nil value in transaction log entry"), whatever flags it is given. Hence these
// two have no such entry where a timestamp authority witnesses the time, and
// VerifyFile asks for none; the referrers have one, and Verify requires it. With
// cosign 2.5:
//
//	cosign verify-blob --bundle F.cosign-bundle --trusted-root trusted_root.json --new-bundle-format --use-signed-timestamps --insecure-ignore-tlog IDENTITY F
//	cosign verify-blob-attestation --type slsaprovenance1 --bundle F.attestation-bundle (the same flags) F
//
// where IDENTITY stands for --certificate-identity-regexp and
// --certificate-oidc-issuer-regexp with their patterns. `cosign verify` and
// `verify-attestation` of version 2 look under tags only: Options.Cosign2 writes
// them. What is among the referrers needs cosign 3.
package publish

import (
	"maps"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/sigstore/cosign/v2/pkg/types"
)

// Media types in the registry.
const (
	// ArtifactType is the artifactType of every manifest but the oci family's,
	// which is an image.
	ArtifactType = "application/vnd.powernode.disk-image.v1"
	// BundleMediaType is the Sigstore bundle, version 0.3, of every referrer.
	BundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// CosignBundleMediaType and AttestationBundleMediaType are the layers that
	// carry the signature and the provenance of a disk image beside it.
	CosignBundleMediaType      = "application/vnd.dev.cosign.bundle.v1+json"
	AttestationBundleMediaType = "application/vnd.dev.cosign.attestation.v1+json"
)

// Suffixes of the layers that carry bundles.
const (
	cosignBundleSuffix      = ".cosign-bundle"
	attestationBundleSuffix = ".attestation-bundle"
)

// Predicate types of the statements that are attached to a manifest.
const (
	PredicateSignature   = types.CosignSignPredicateType
	PredicateSPDX        = "https://spdx.dev/Document"
	PredicateCycloneDX   = "https://cyclonedx.org/bom"
	PredicateProvenance  = "https://slsa.dev/provenance/v1"
	PredicatePublication = "https://powernode.dev/bootsmith/publication/v1"
)

// PredicateType returns the predicate type of a short name, most of which are
// cosign's: spdxjson, cyclonedx, slsaprovenance1, publication; any URI stands for
// itself.
func PredicateType(name string) (string, error) {
	known := map[string]string{
		"spdxjson": PredicateSPDX, "cyclonedx": PredicateCycloneDX, "slsaprovenance1": PredicateProvenance, "publication": PredicatePublication,
	}
	if uri, ok := known[name]; ok {
		return uri, nil
	}
	if strings.Contains(name, "://") {
		return name, nil
	}
	return "", fault.Inputf("reading the predicate type %q: it is unknown", name).
		WithFix("name a URI, or one of %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}

// Annotations of manifests and of the index's entries, beside those that the
// OCI image specification names.
const (
	AnnotationPlatform  = "dev.powernode.bootsmith.platform"
	AnnotationArch      = "dev.powernode.bootsmith.arch"
	AnnotationFamily    = "dev.powernode.bootsmith.family"
	AnnotationComposefs = "dev.powernode.bootsmith.composefs"
	AnnotationRootHash  = "dev.powernode.bootsmith.roothash"
)

// Annotations of a bundle's referrer, as cosign 3 writes them. They are hints
// for people who list referrers: what counts is inside the signature.
const (
	annotationBundleContent   = "dev.sigstore.bundle.content"
	annotationBundlePredicate = "dev.sigstore.bundle.predicateType"
)

// The families that differ in how they are published.
const (
	imageFamily = "oci" // pushed as the image it is
	diskFamily  = "raw" // carries its bundles as layers, too
)

// Bounds of what is read from a registry or a file, in bytes and in pieces.
const (
	maxManifest  = 4 << 20
	maxBundle    = 64 << 20
	maxBundles   = 256 << 20 // of one manifest, together
	maxReferrers = 200
	maxSBOM      = 48 << 20
)
