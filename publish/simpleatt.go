package publish

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"oras.land/oras-go/v2/content"

	"github.com/sigstore/cosign/v2/pkg/types"
)

// Cosign 2 looks for attestations under the tag "sha256-<hex>.att": an image whose
// layers are DSSE envelopes. Unlike in a bundle, their timestamp is one of the
// whole envelope (cosign 2, pkg/cosign/verify.go, VerifyRFC3161Timestamp).
const simplePredicate = "predicateType"

// attestationTag returns the tag that holds a manifest's attestations for cosign 2.
func attestationTag(manifest ocispec.Descriptor) string {
	return manifest.Digest.Algorithm().String() + "-" + manifest.Digest.Encoded() + ".att"
}

// envelope is a DSSE envelope in JSON (DSSE envelope specification).
type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// attestSimple makes sure that every claim about a manifest is attested in the
// form that cosign 2 can read. Attestations of others under the same tag stay.
func (a *attester) attestSimple(ctx context.Context, manifest ocispec.Descriptor, name string, claims []claim) error {
	tag := attestationTag(manifest)
	layers, err := a.simpleLayers(ctx, tag)
	if err != nil {
		return remoteError(fmt.Errorf("looking for %s in %s: %w", tag, a.repo.Reference, err))
	}
	have := len(layers)
	for _, c := range claims {
		if c.predicateType == PredicateSignature || a.hasSimple(ctx, layers[:have], c) {
			continue
		}
		layer, err := a.envelopeLayer(ctx, c)
		if err != nil {
			return err
		}
		layers = append(layers, layer)
	}
	if len(layers) == have {
		a.report(Event{Kind: Skipped, Name: name + ": " + tag})
		return nil
	}
	m, err := a.packSimple(ctx, layers)
	if err != nil {
		return err
	}
	if err := a.manifest(ctx, m, tag, name+": "+tag); err != nil {
		return err
	}
	a.report(Event{Kind: Signed, Name: name + ": " + tag, Digest: m.desc.Digest.String()})
	return nil
}

// envelopeLayer signs a claim and pushes its envelope.
func (a *attester) envelopeLayer(ctx context.Context, c claim) (ocispec.Descriptor, error) {
	id, err := a.signer.identity(ctx)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	signature, err := id.key.signDigest(statementPayload(c.statement, nil).digest)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("signing: %w", err)
	}
	raw, err := json.Marshal(envelope{PayloadType: types.IntotoPayloadType, Payload: c.statement, Signatures: []envelopeSignature{{Sig: signature}}})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	b := &protobundle.Bundle{VerificationMaterial: id.material()}
	if err := a.signer.timestamp(ctx, a.signer.services.clients(ctx, a.signer.transport), b, raw); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := a.bytes(ctx, types.DssePayloadType, raw)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc.Annotations, err = a.simpleProofs(b.VerificationMaterial)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc.Annotations[simpleSignature], desc.Annotations[simplePredicate] = "", c.predicateType
	return desc, nil
}

// hasSimple tells whether a layer is a valid attestation of a claim by this
// identity.
func (a *attester) hasSimple(ctx context.Context, layers []ocispec.Descriptor, c claim) bool {
	for _, l := range layers {
		if l.MediaType != types.DssePayloadType || l.Annotations[simplePredicate] != c.predicateType {
			continue
		}
		raw, err := content.FetchAll(ctx, a.repo.Blobs(), l)
		if err == nil && a.checkEnvelope(l, raw, c.statement) == nil {
			return true
		}
	}
	return false
}

// checkEnvelope verifies an envelope that says what a statement does: its
// signature, timestamp and certificate.
func (a *attester) checkEnvelope(l ocispec.Descriptor, raw, statement []byte) error {
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil || len(e.Signatures) != 1 || e.PayloadType != types.IntotoPayloadType || !sameStatement(e.Payload, statement) {
		return errors.Join(errors.New("it says something else"), err)
	}
	key := &a.signer.id.key.key.PublicKey
	if a.signer.key == nil {
		cert, err := a.checkSimpleCertificate(l, raw)
		if err != nil {
			return err
		}
		var ok bool
		if key, ok = cert.PublicKey.(*ecdsa.PublicKey); !ok {
			return errors.New("it is signed with another kind of key")
		}
	}
	if !ecdsa.VerifyASN1(key, statementPayload(e.Payload, nil).digest, e.Signatures[0].Sig) {
		return errors.New("its signature is wrong")
	}
	return nil
}

// checkSimpleCertificate verifies that an envelope was timestamped while a
// certificate of this identity was valid, and returns the certificate.
func (a *attester) checkSimpleCertificate(l ocispec.Descriptor, raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(l.Annotations[simpleCertificate]))
	if block == nil {
		return nil, errors.New("it has no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return nil, err
	}
	if summary.SubjectAlternativeName != a.signer.id.name || summary.Issuer != a.signer.id.issuer {
		return nil, errors.New("it is somebody else's")
	}
	made, err := a.stampTime(l, raw)
	if err != nil {
		return nil, err
	}
	for _, ca := range a.signer.root.FulcioCertificateAuthorities() {
		if chains, err := ca.Verify(cert, made); err == nil && len(chains) > 0 {
			return cert, nil
		}
	}
	return nil, errors.New("its certificate was not valid then")
}

func (a *attester) stampTime(l ocispec.Descriptor, raw []byte) (time.Time, error) {
	var stamp struct{ SignedRFC3161Timestamp []byte }
	if err := json.NewDecoder(bytes.NewReader([]byte(l.Annotations[simpleTimestamp]))).Decode(&stamp); err != nil {
		return time.Time{}, err
	}
	for _, tsa := range a.signer.root.TimestampingAuthorities() {
		if t, err := tsa.Verify(stamp.SignedRFC3161Timestamp, raw); err == nil {
			return t.Time, nil
		}
	}
	return time.Time{}, errors.New("no timestamp authority vouches for it")
}
