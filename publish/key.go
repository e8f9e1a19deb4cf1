package publish

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
)

// keypair is a signing key: ECDSA with P-256 and SHA-256. One that belongs to a
// certificate lives as long as that, in memory only. Unlike sigstore-go's it also
// signs a digest whose data has been hashed elsewhere, such as an image of many
// gigabytes.
type keypair struct {
	key *ecdsa.PrivateKey
	der []byte // the public key, SubjectPublicKeyInfo
}

func newKeypair() (*keypair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	return pairOf(key)
}

func pairOf(key *ecdsa.PrivateKey) (*keypair, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	return &keypair{key: key, der: der}, nil
}

// signDigest returns the ASN.1 signature of a SHA-256 digest.
func (k *keypair) signDigest(digest []byte) ([]byte, error) {
	return k.key.Sign(rand.Reader, digest, crypto.SHA256)
}

func (k *keypair) publicPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.der})
}

// The methods below are sign.Keypair; sigstore-go's Fulcio client needs them.

func (k *keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (k *keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
}

func (k *keypair) GetHint() []byte {
	sum := sha256.Sum256(k.der)
	return []byte(base64.StdEncoding.EncodeToString(sum[:]))
}

func (k *keypair) GetKeyAlgorithm() string { return "ECDSA" }

func (k *keypair) GetPublicKey() crypto.PublicKey { return k.key.Public() }

func (k *keypair) GetPublicKeyPem() (string, error) {
	return string(k.publicPEM()), nil
}

func (k *keypair) SignData(_ context.Context, data []byte) (signature, digest []byte, err error) {
	sum := sha256.Sum256(data)
	signature, err = k.signDigest(sum[:])
	return signature, sum[:], err
}
