package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// issued is a certificate provider that has a certificate already.
type issued func(sign.Keypair) ([]byte, error)

func (i issued) GetCertificate(_ context.Context, key sign.Keypair, _ *sign.CertificateProviderOptions) ([]byte, error) {
	return i(key)
}

// expired makes a signature with a certificate that the lab's own authority
// issued for ten minutes, an hour ago, without an SCT. It is timestamped by the
// given services, if any.
func (l *lab) expired(t *testing.T, good string, tsa *localstack.Stack) string {
	return l.forge(t, "", good, func(b bundles) {
		payload, err := base64.StdEncoding.DecodeString(b[publish.PredicateSignature].in("dsseEnvelope")["payload"].(string))
		if err != nil {
			t.Fatal(err)
		}
		key, err := sign.NewEphemeralKeypair(nil)
		if err != nil {
			t.Fatal(err)
		}
		o := sign.BundleOptions{
			Context: t.Context(), CertificateProvider: issued(l.issueExpired(t)),
			TransparencyLogs: []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: l.stack.URL + "/rekor", Version: 2})},
		}
		if tsa != nil {
			o.TimestampAuthorities = []*sign.TimestampAuthority{
				sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: tsa.URL + "/tsa/api/v1/timestamp"})}
		}
		signed, err := sign.Bundle(&sign.DSSEData{Data: payload, PayloadType: "application/vnd.in-toto+json"}, key, o)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := protojson.Marshal(signed)
		if err != nil {
			t.Fatal(err)
		}
		clear(b)
		var forged object
		unmarshal(t, raw, &forged)
		b[publish.PredicateSignature] = forged
	})
}

func (l *lab) issueExpired(t *testing.T) func(sign.Keypair) ([]byte, error) {
	state := filepath.Dir(l.stack.TrustedRootPath)
	readPEM := func(name string) []byte {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(state, name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		return block.Bytes
	}
	caKey, err := x509.ParsePKCS8PrivateKey(readPEM("keys/ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(readPEM("fulcio.pem"))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := url.Parse(l.stack.Identity)
	if err != nil {
		t.Fatal(err)
	}
	// Fulcio's "Issuer (V2)": a DER string.
	issuer, err := asn1.MarshalWithParams(l.stack.Issuer, "utf8")
	if err != nil {
		t.Fatal(err)
	}
	return func(key sign.Keypair) ([]byte, error) {
		return x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-65 * time.Minute), NotAfter: time.Now().Add(-55 * time.Minute),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, URIs: []*url.URL{identity},
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: issuer}},
		}, ca, key.GetPublicKey(), caKey.(*ecdsa.PrivateKey))
	}
}

// fileBundle attaches the signature of a file to a manifest.
func (l *lab) fileBundle(t *testing.T, good string) string {
	return l.forge(t, "", good, func(b bundles) {
		token, err := l.stack.IssueToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		key, err := sign.NewEphemeralKeypair(nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := sign.Bundle(&sign.PlainData{Data: []byte("another artifact")}, key, sign.BundleOptions{
			Context: t.Context(), CertificateProvider: sign.NewFulcio(&sign.FulcioOptions{BaseURL: l.stack.URL + "/fulcio"}),
			CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token},
			TimestampAuthorities: []*sign.TimestampAuthority{
				sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: l.stack.URL + "/tsa/api/v1/timestamp"})},
			TransparencyLogs: []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: l.stack.URL + "/rekor", Version: 2})},
		})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := protojson.Marshal(signed)
		if err != nil {
			t.Fatal(err)
		}
		var forged object
		unmarshal(t, raw, &forged)
		clear(b)
		b[publish.PredicateSignature] = forged
	})
}
