package publish

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// maxKey bounds a key file, in bytes.
const maxKey = 64 << 10

// Key is a signing key that is kept in a file. Signatures with it name nobody:
// whoever verifies them must have its public key.
type Key struct{ pair *keypair }

// ReadKey reads a private key: PEM, ECDSA on the curve P-256, as PKCS #8, SEC 1
// or the encrypted form that `cosign generate-key-pair` writes. The passphrase is
// asked for when the key is encrypted.
func ReadKey(path string, passphrase func() ([]byte, error)) (*Key, error) {
	raw, err := readBounded(path, maxKey)
	if err != nil {
		return nil, fault.Inputf("reading the signing key: %w", err)
	}
	pair, err := parseKey(raw, passphrase)
	if err != nil {
		// What a parser says of a private key may repeat parts of it.
		return nil, fault.Inputf("reading the signing key %q: %w", path, err).
			WithFix("make one with `cosign generate-key-pair`, or `openssl ecparam -name prime256v1 -genkey -noout`")
	}
	return &Key{pair: pair}, nil
}

var (
	errPassphrase = errors.New("it is encrypted, and the passphrase is missing or wrong")
	errNoKey      = errors.New("it is not a private key in PEM")
	errCurve      = errors.New("it is not an ECDSA key on the curve P-256")
)

func parseKey(raw []byte, passphrase func() ([]byte, error)) (*keypair, error) {
	encrypted := false
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(raw, func(bool) ([]byte, error) {
		encrypted = true
		return passphrase()
	})
	switch {
	case err != nil && encrypted:
		return nil, errPassphrase
	case err != nil:
		return nil, errNoKey
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, errCurve
	}
	return pairOf(ec)
}

// Name is how the key is called in place of an identity: the SHA-256 of its
// public key (SubjectPublicKeyInfo, DER).
func (k *Key) Name() string { return keyName(k.pair.der) }

func keyName(der []byte) string {
	sum := sha256.Sum256(der)
	return "key:sha256:" + hex.EncodeToString(sum[:])
}

// publicKey is a key that signatures are verified with.
type publicKey struct {
	name     string
	verifier signature.Verifier
}

func parsePublicKey(raw []byte) (publicKey, error) {
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != "PUBLIC KEY" || len(rest) > maxKey {
		return publicKey{}, errors.New("it is not a public key in PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return publicKey{}, err
	}
	ec, ok := key.(*ecdsa.PublicKey)
	if !ok || ec.Curve != elliptic.P256() {
		return publicKey{}, errCurve
	}
	v, err := signature.LoadECDSAVerifier(ec, crypto.SHA256)
	if err != nil {
		return publicKey{}, fmt.Errorf("loading a public key: %w", err)
	}
	return publicKey{name: keyName(block.Bytes), verifier: v}, nil
}

// keyRoot believes one key, whatever a bundle calls it, and of a trust root the
// logs and timestamp authorities, but no certificate.
type keyRoot struct {
	root.TrustedMaterial
	key publicKey
}

func newKeyRoot(trusted root.TrustedMaterial, key publicKey) root.TrustedMaterial {
	if trusted == nil {
		trusted = &root.BaseTrustedMaterial{}
	}
	return keyRoot{TrustedMaterial: trusted, key: key}
}

// FulcioCertificateAuthorities implements root.TrustedMaterial.
func (keyRoot) FulcioCertificateAuthorities() []root.CertificateAuthority { return nil }

// CTLogs implements root.TrustedMaterial.
func (keyRoot) CTLogs() map[string]*root.TransparencyLog { return nil }

// PublicKeyVerifier implements root.TrustedMaterial.
func (k keyRoot) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return root.NewExpiringKey(k.key.verifier, time.Time{}, time.Time{}), nil
}
