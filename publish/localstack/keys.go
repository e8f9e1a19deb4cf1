package localstack

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"sync"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
)

// keyring loads the stack's keys and certificate chains, and makes them the
// first time. Keys are PKCS #8 PEM, unencrypted, mode 0600.
type keyring struct {
	state stateDir
	now   func() time.Time
	rand  io.Reader
}

// ecdsaKey returns the P-256 key of that name.
func (k keyring) ecdsaKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := k.key(name, func() (crypto.Signer, error) {
		return ecdsa.GenerateKey(elliptic.P256(), k.rand)
	})
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, k.damaged(name, fmt.Errorf("holds a %T", key))
	}
	return ec, nil
}

// rsaKey returns the RSA-2048 key of that name: cosign takes an identity token
// that is not RS256 for a file name.
func (k keyring) rsaKey(name string) (*rsa.PrivateKey, error) {
	key, err := k.key(name, func() (crypto.Signer, error) {
		return rsa.GenerateKey(k.rand, 2048)
	})
	if err != nil {
		return nil, err
	}
	r, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, k.damaged(name, fmt.Errorf("holds a %T", key))
	}
	return r, nil
}

func (k keyring) key(name string, generate func() (crypto.Signer, error)) (any, error) {
	data, err := k.state.loadOrCreate(k.state.path("keys", name), func() ([]byte, error) {
		key, err := generate()
		if err != nil {
			return nil, fmt.Errorf("generating %q: %w", name, err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("encoding %q: %w", name, err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	})
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, k.damaged(name, fmt.Errorf("no PEM block"))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, k.damaged(name, err)
	}
	return key, nil
}

// chain returns the certificate chain of that name, leaf first, whose first
// certificate must belong to key.
func (k keyring) chain(name string, key crypto.Signer, create func() ([]*x509.Certificate, error)) ([]*x509.Certificate, error) {
	data, err := k.state.loadOrCreate(k.state.path(name), func() ([]byte, error) {
		chain, err := create()
		return chainPEM(chain), err
	})
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, k.damaged(name, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, k.damaged(name, fmt.Errorf("no certificate"))
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the public key of %q: %w", name, err)
	}
	if !bytes.Equal(pub, chain[0].RawSubjectPublicKeyInfo) {
		return nil, k.damaged(name, fmt.Errorf("belongs to another key"))
	}
	return chain, nil
}

// secret returns 32 random bytes in hexadecimal, the same at every start.
func (k keyring) secret(name string) (string, error) {
	data, err := k.state.loadOrCreate(k.state.path("keys", name), func() ([]byte, error) {
		raw := make([]byte, 32)
		if _, err := io.ReadFull(k.rand, raw); err != nil {
			return nil, fmt.Errorf("generating %q: %w", name, err)
		}
		return []byte(hex.EncodeToString(raw)), nil
	})
	return string(data), err
}

// damaged never repairs: a new key would change the trusted root unasked.
func (k keyring) damaged(name string, err error) error {
	return fault.Inputf("loading %q from %q: %w", name, string(k.state), err).
		WithFix("delete the state directory to start with new keys")
}

// certify issues a certificate for pub. parent is nil for a self-signed one.
func (k keyring) certify(template *x509.Certificate, pub crypto.PublicKey, parent *x509.Certificate, signer crypto.Signer) (*x509.Certificate, error) {
	serial := make([]byte, 16)
	if _, err := io.ReadFull(k.rand, serial); err != nil {
		return nil, fmt.Errorf("generating a serial number: %w", err)
	}
	// RFC 5280 section 4.1.2.2: positive, at most 20 octets.
	serial[0] = serial[0]&0x7f | 0x40
	template.SerialNumber = new(big.Int).SetBytes(serial)
	template.Subject.Organization = []string{"Bootsmith local stack, development only"}
	// A minute of slack, for the clocks of virtual machines.
	template.NotBefore = k.now().UTC().Add(-time.Minute).Truncate(time.Second)
	template.NotAfter = template.NotBefore.AddDate(10, 0, 0)
	template.BasicConstraintsValid = true
	if template.IsCA {
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(k.rand, template, parent, pub, signer)
	if err != nil {
		return nil, fmt.Errorf("certifying %q: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func chainPEM(chain []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range chain {
		// Writing to a bytes.Buffer cannot fail, and there are no headers.
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return out.Bytes()
}

// lockedReader lets concurrent requests share a source of randomness.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
