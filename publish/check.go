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
	// noTime asks for no time at all: a key, unlike a certificate, does not
	// expire.
	noTime bool
}

// verifier returns the verifier for a trust root.
func (t thresholds) verifier(trusted root.TrustedMaterial) (*verify.Verifier, error) {
	// The predicate is read from the signed bytes; as a protobuf structure an
	// SBOM would take many times its size.
	options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	switch {
	case t.noTime:
		options = append(options, verify.WithNoObserverTimestamps())
	case t.logTime:
		options = append(options, verify.WithObserverTimestamps(1))
	default:
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

// checker verifies bundles against a trust root and an identity, or a key.
type checker struct {
	verifier *verify.Verifier
	identity verify.PolicyOption
	key      string // the key's name; empty for certificates
	end      TrustEnd
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
	v := verdict{identity: c.key}
	if c.key == "" {
		if result.Signature == nil || result.Signature.Certificate == nil {
			return verdict{}, fmt.Errorf("the bundle has no certificate")
		}
		cert := result.Signature.Certificate
		v.identity, v.issuer = cert.SubjectAlternativeName, cert.Issuer
	}
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
	c := checker{verifier: v, identity: verify.WithoutIdentitiesUnsafe()}
	if s.key != nil {
		c = checker{verifier: v, identity: verify.WithKey(), key: s.key.Name()}
	}
	_, err = c.check(parsed, p.subject)
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
	if s.key != nil {
		return checker{verifier: v, identity: verify.WithKey(), key: id.name}, nil
	}
	exact, err := verify.NewShortCertificateIdentity(id.issuer, "", id.name, "")
	if err != nil {
		return checker{}, err
	}
	return checker{verifier: v, identity: verify.WithCertificateIdentity(exact)}, nil
}
