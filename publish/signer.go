package publish

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/sigstore/cosign/v2/pkg/types"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// SignerOptions say with which services and as whom to sign.
type SignerOptions struct {
	// SigningConfig and TrustedRoot are the paths of Sigstore's
	// signing_config.json (v0.2) and trusted_root.json.
	SigningConfig, TrustedRoot string
	// Token identifies the signer.
	Token TokenSource
	// Key, when set, signs in place of an identity: no token is needed and no
	// certificate is asked for. Then both files may be missing; when they are
	// given, signatures are witnessed by their timestamp authorities and logs.
	Key *Key
	// Transport sends the requests; nil means http.DefaultTransport.
	Transport http.RoundTripper
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Signer signs keylessly: with a key that lives for minutes and a certificate
// that binds it to an identity; or, when asked to, with a key of the user's own.
// It is safe for use by several goroutines, which then share key and certificate.
type Signer struct {
	services  services
	root      root.TrustedMaterial
	checks    thresholds
	token     TokenSource
	key       *Key // nil for keyless signing
	transport http.RoundTripper
	now       func() time.Time

	mu sync.Mutex
	id *identity
}

// identity is a key and who it belongs to.
type identity struct {
	key    *keypair
	cert   *x509.Certificate // nil for a key of the user's own
	name   string            // the certificate's subject alternative name, or the key's name
	issuer string            // of the token
	until  time.Time
}

// NewSigner reads the signing configuration and the trust root. It contacts
// nobody.
func NewSigner(o SignerOptions) (*Signer, error) {
	s := &Signer{token: o.Token, key: o.Key, transport: o.Transport, now: o.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if s.transport == nil {
		s.transport = http.DefaultTransport
	}
	if s.token == nil && s.key == nil {
		return nil, fault.Inputf("preparing to sign: no source of identity tokens is given")
	}
	if s.key != nil && o.SigningConfig == "" && o.TrustedRoot == "" {
		s.checks.noTime = true
		return s, s.trustKey(nil)
	}
	config, err := root.NewSigningConfigFromPath(o.SigningConfig)
	if err != nil {
		return nil, fault.Inputf("reading the signing configuration %q: %w", o.SigningConfig, err).WithFix("name Sigstore's signing_config.json")
	}
	trusted, err := root.NewTrustedRootFromPath(o.TrustedRoot)
	if err != nil {
		return nil, fault.Inputf("reading the trust root %q: %w", o.TrustedRoot, err).WithFix("name Sigstore's trusted_root.json")
	}
	if s.services, err = selectServices(config, s.now(), s.key != nil); err != nil {
		return nil, fault.Inputf("reading the signing configuration %q: %w", o.SigningConfig, err)
	}
	s.checks = thresholds{logs: len(s.services.logs) > 0, logTime: len(s.services.tsas) == 0}
	if s.key != nil {
		s.checks.noTime = len(s.services.tsas) == 0
		return s, s.trustKey(trusted)
	}
	s.root, s.checks.scts = trusted, len(trusted.CTLogs()) > 0
	return s, nil
}

// trustKey makes the key the signer and, beside a trust root's logs and timestamp
// authorities, what its signatures are verified with.
func (s *Signer) trustKey(trusted root.TrustedMaterial) error {
	public, err := parsePublicKey(s.key.pair.publicPEM())
	if err != nil {
		return err
	}
	s.root = newKeyRoot(trusted, public)
	s.id = &identity{key: s.key.pair, name: s.key.Name()}
	return nil
}

// certificateLeft is how long a certificate must still be valid to be used.
const certificateLeft = 3 * time.Minute

// usableUntil counts from when the certificate came: this host's clock may
// differ from the certificate authority's.
func usableUntil(cert *x509.Certificate, got time.Time) time.Time {
	return got.Add(cert.NotAfter.Sub(cert.NotBefore) - certificateLeft)
}

// identity returns the current key and certificate, and gets new ones when they
// are about to expire. One certificate serves many signatures: a release of
// twelve artifacts would otherwise ask the certificate authority sixty times.
func (s *Signer) identity(ctx context.Context) (*identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != nil && (s.key != nil || s.now().Before(s.id.until)) {
		return s.id, nil
	}
	got := s.now()
	token, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	key, err := newKeypair()
	if err != nil {
		return nil, err
	}
	der, err := s.services.clients(ctx, s.transport).fulcio.GetCertificate(ctx, key, &sign.CertificateProviderOptions{IDToken: token})
	if err != nil {
		return nil, signError(fmt.Errorf("getting a signing certificate from %s: %w", s.services.fulcio.URL, err))
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, signError(fmt.Errorf("reading the signing certificate: %w", err))
	}
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return nil, signError(fmt.Errorf("reading the signing certificate: %w", err))
	}
	s.id = &identity{key: key, cert: cert, name: summary.SubjectAlternativeName, issuer: summary.Issuer, until: usableUntil(cert, got)}
	return s.id, nil
}

// payload is what a signature is made over.
type payload struct {
	// digest is the SHA-256 that is signed, subject the digest that the
	// signature speaks about: the same for a file, the statement's for an
	// attestation.
	digest, subject []byte
	statement       []byte // of an attestation
	// unlogged leaves out the entries of Rekor v2 logs where a timestamp
	// authority proves the time: see the package documentation, "Bundles beside
	// disk images".
	unlogged bool
}

func filePayload(digest []byte) payload { return payload{digest: digest, subject: digest} }

// statementPayload signs a statement in its DSSE envelope: the digest is that
// of the pre-authentication encoding (DSSE protocol, "Signature Definition").
func statementPayload(statement, subject []byte) payload {
	sum := sha256.New()
	fmt.Fprintf(sum, "DSSEv1 %d %s %d ", len(types.IntotoPayloadType), types.IntotoPayloadType, len(statement))
	sum.Write(statement)
	return payload{digest: sum.Sum(nil), subject: subject, statement: statement}
}

func (p payload) fill(b *protobundle.Bundle, signature []byte) {
	if p.statement == nil {
		b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: p.digest},
			Signature:     signature,
		}}
		return
	}
	b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
		Payload: p.statement, PayloadType: types.IntotoPayloadType, Signatures: []*protodsse.Signature{{Sig: signature}},
	}}
}

// sign returns a Sigstore bundle (JSON) that has been verified against the trust
// root.
func (s *Signer) sign(ctx context.Context, p payload) ([]byte, error) {
	raw, err := s.bundle(ctx, p)
	var refused *StatusError
	if errors.As(err, &refused) && refused.Status == http.StatusConflict {
		// An attempt whose answer was lost reached the log. A new signature is
		// a new entry.
		raw, err = s.bundle(ctx, p)
	}
	return raw, err
}

func (s *Signer) bundle(ctx context.Context, p payload) ([]byte, error) {
	id, err := s.identity(ctx)
	if err != nil {
		return nil, err
	}
	signature, err := id.key.signDigest(p.digest)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	b := &protobundle.Bundle{MediaType: BundleMediaType, VerificationMaterial: id.material()}
	p.fill(b, signature)
	if err := s.witness(ctx, b, signature, id, p.unlogged); err != nil {
		return nil, err
	}
	if err := s.selfCheck(b, p); err != nil {
		return nil, signError(fmt.Errorf("verifying the new signature: %w", err)).WithFix("check that the trust root belongs to the signing configuration")
	}
	raw, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encoding a bundle: %w", err)
	}
	return raw, nil
}

// material says with what the identity's signatures are verified: its
// certificate, or a hint to the key that the verifier has.
func (id *identity) material() *protobundle.VerificationMaterial {
	if id.cert == nil {
		return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{
			PublicKey: &protocommon.PublicKeyIdentifier{Hint: string(id.key.GetHint())},
		}}
	}
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_Certificate{
		Certificate: &protocommon.X509Certificate{RawBytes: id.cert.Raw},
	}}
}

// public returns the identity's certificate or public key, PEM.
func (id *identity) public() []byte {
	if id.cert == nil {
		return id.key.publicPEM()
	}
	return certificatePEM(id.cert.Raw)
}

// witness adds the timestamps and the log entries.
func (s *Signer) witness(ctx context.Context, b *protobundle.Bundle, signature []byte, id *identity, unlogged bool) error {
	c := s.services.clients(ctx, s.transport)
	if err := s.timestamp(ctx, c, b, signature); err != nil {
		return err
	}
	for i, log := range c.logs {
		if unlogged && s.services.omissible(i) {
			continue
		}
		if err := log.GetTransparencyLogEntry(ctx, id.public(), b); err != nil {
			return signError(fmt.Errorf("entering a signature in the log %s: %w", s.services.logs[i].URL, err))
		}
	}
	return nil
}

// timestamp adds the timestamps of some bytes, usually the signature.
func (s *Signer) timestamp(ctx context.Context, c clients, b *protobundle.Bundle, data []byte) error {
	for i, tsa := range c.tsas {
		token, err := tsa.GetTimestamp(ctx, data)
		if err != nil {
			return signError(fmt.Errorf("getting a timestamp from %s: %w", s.services.tsas[i].URL, err))
		}
		if b.VerificationMaterial.TimestampVerificationData == nil {
			b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{}
		}
		stamps := b.VerificationMaterial.TimestampVerificationData
		stamps.Rfc3161Timestamps = append(stamps.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: token})
	}
	return nil
}

func signError(err error) *fault.Error {
	var e *fault.Error
	if errors.As(err, &e) {
		return e
	}
	return (&fault.Error{Class: fault.Remote, Err: err}).WithFix("run `bootsmith publish --resume` when the signing service answers: what was pushed stays")
}
