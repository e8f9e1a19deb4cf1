package publish

import (
	"fmt"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// thresholds say what must witness a signature beside the certificate
// authority: always a time, and the rest as configured.
type thresholds struct {
	scts bool // a signed certificate timestamp in the certificate
	logs bool // an entry in a transparency log
	// logTime accepts the log's word for the time where there is no signed
	// timestamp. Only Rekor v1 gives one.
	logTime bool
}

// verifier returns the verifier for a trust root.
func (t thresholds) verifier(trusted root.TrustedMaterial) (*verify.Verifier, error) {
	// The predicate is read from the signed bytes; as a protobuf structure an
	// SBOM would take many times its size.
	options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if t.logTime {
		options = append(options, verify.WithObserverTimestamps(1))
	} else {
		options = append(options, verify.WithSignedTimestamps(1))
	}
	if t.scts {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	if t.logs {
		options = append(options, verify.WithTransparencyLog(1))
	}
	return verify.NewVerifier(trusted, options...)
}

// checker verifies bundles against a trust root and an identity.
type checker struct {
	verifier *verify.Verifier
	identity verify.PolicyOption
}

// verdict is what a verified bundle says.
type verdict struct {
	identity, issuer string
	time             time.Time // the latest witnessed time
	payload          []byte    // the statement; nil for a file's signature
}

// check verifies a bundle over an artifact with a SHA-256 digest.
func (c checker) check(b *bundle.Bundle, digest []byte) (verdict, error) {
	policy := verify.NewPolicy(verify.WithArtifactDigest("sha256", digest), c.identity)
	result, err := c.verifier.Verify(b, policy)
	if err != nil {
		return verdict{}, err
	}
	if result.Signature == nil || result.Signature.Certificate == nil {
		return verdict{}, fmt.Errorf("the bundle has no certificate")
	}
	cert := result.Signature.Certificate
	v := verdict{identity: cert.SubjectAlternativeName, issuer: cert.Issuer}
	for _, t := range result.VerifiedTimestamps {
		if t.Timestamp.After(v.time) {
			v.time = t.Timestamp
		}
	}
	if envelope := b.GetDsseEnvelope(); envelope != nil {
		v.payload = envelope.Payload
	}
	return v, nil
}

// selfCheck verifies a fresh bundle, so that nothing is uploaded that a
// consumer with the same trust root would refuse.
func (s *Signer) selfCheck(b *protobundle.Bundle, p payload) error {
	parsed, err := bundle.NewBundle(b)
	if err != nil {
		return err
	}
	v, err := s.required(p.unlogged).verifier(s.root)
	if err != nil {
		return err
	}
	_, err = checker{verifier: v, identity: verify.WithoutIdentitiesUnsafe()}.check(parsed, p.subject)
	return err
}

// required returns what must witness a signature of this signer.
func (s *Signer) required(unlogged bool) thresholds {
	t := s.checks
	for i := range s.services.logs {
		if unlogged && s.services.omissible(i) {
			t.logs = false
		}
	}
	return t
}

// own returns a checker that accepts what this signer would sign now.
func (s *Signer) own(id *identity, unlogged bool) (checker, error) {
	v, err := s.required(unlogged).verifier(s.root)
	if err != nil {
		return checker{}, err
	}
	exact, err := verify.NewShortCertificateIdentity(id.issuer, "", id.name, "")
	if err != nil {
		return checker{}, err
	}
	return checker{verifier: v, identity: verify.WithCertificateIdentity(exact)}, nil
}
