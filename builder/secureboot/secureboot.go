// Package secureboot opens the certificate and the private key that sign EFI
// programs for UEFI Secure Boot. The key is a PEM file, or stays in a token
// that is named by a PKCS#11 URI (RFC 7512).
//
// Nothing of a private key leaves this package: not into a plan, a cache, an
// error or a log.
package secureboot

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/uki/authenticode"
)

// Config says who signs.
type Config struct {
	// Certificate is a PEM file: the signer's certificate, then any that lead
	// to the one that the firmware knows.
	Certificate string
	// Key is a PEM file or a PKCS#11 URI; "" where nothing will be signed.
	Key string
	// PIN opens the token of a PKCS#11 URI that names no pin-source.
	PIN string
	// Run runs the program that talks to tokens.
	Run Runner
}

// Signer signs EFI programs.
type Signer struct {
	certificates []*x509.Certificate
	// key returns the private key; a key in a token stops working when the
	// context is done. nil without a key.
	key func(context.Context) crypto.Signer
}

// maxFile bounds certificates and keys, in bytes.
const maxFile = 1 << 20

// Open reads the certificate and, where it is a file, the key. What can't be
// used is an error of class fault.Input.
func Open(c Config) (*Signer, error) {
	certificates, err := readCertificates(c.Certificate)
	if err != nil {
		return nil, fault.Inputf("reading the Secure Boot certificate %q: %w", c.Certificate, err).
			WithFix("give a PEM file with the certificate of an RSA key of %d bits or more", authenticode.MinKeyBits)
	}
	s := &Signer{certificates: certificates}
	switch {
	case c.Key == "":
	case strings.HasPrefix(c.Key, scheme):
		token, err := parseURI(c.Key)
		if err != nil {
			return nil, fault.Default(fault.Input, fmt.Errorf("reading the PKCS#11 URI of the Secure Boot key: %w", err))
		}
		if token.pin == "" {
			token.pin = c.PIN
		}
		if token.pin == "" {
			return nil, fault.Inputf("reading the PKCS#11 URI of the Secure Boot key: there is no PIN").
				WithFix("set BOOTSMITH_SECURE_BOOT_PIN, or add ?pin-source=file:/path to the URI")
		}
		public := certificates[0].PublicKey
		s.key = func(ctx context.Context) crypto.Signer { return tokenKey{ctx, token, c.Run, public} }
	default:
		key, err := readKey(c.Key, certificates[0])
		if err != nil {
			return nil, fault.Inputf("reading the Secure Boot key %q: %w", c.Key, err).
				WithFix("give the PEM file of the certificate's private key, not encrypted, or a PKCS#11 URI")
		}
		s.key = func(context.Context) crypto.Signer { return key }
	}
	return s, nil
}

// CanSign tells whether there is a private key.
func (s *Signer) CanSign() bool { return s.key != nil }

// Digest returns the SHA-256 of the certificates' DER forms, in hex; of a
// single one that is its fingerprint.
func (s *Signer) Digest() string {
	sum := sha256.New()
	for _, c := range s.certificates {
		sum.Write(c.Raw)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Sign writes a signed copy of an EFI program of size bytes to w.
func (s *Signer) Sign(ctx context.Context, w io.Writer, program io.ReaderAt, size int64) error {
	if !s.CanSign() {
		return fault.Inputf("signing for Secure Boot: there is no private key").
			WithFix("give --secure-boot-key, set BOOTSMITH_SECURE_BOOT_KEY, or add secure_boot.key to the definition")
	}
	return authenticode.Sign(ctx, w, program, size, authenticode.Identity{Certificates: s.certificates, Key: s.key(ctx)})
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a PEM block of type %q", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("it holds no certificate in PEM form")
	}
	if key, ok := list[0].PublicKey.(*rsa.PublicKey); !ok || key.N.BitLen() < authenticode.MinKeyBits {
		return nil, errors.New("firmware doesn't take its key")
	}
	return list, nil
}

// readKey reads PKCS#8 or PKCS#1. Its errors say nothing of the content.
func readKey(path string, of *x509.Certificate) (*rsa.PrivateKey, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("it is not in PEM form")
	}
	var parsed any
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("it is encrypted")
	default:
		return nil, errors.New("it holds no private key")
	}
	if err != nil || block.Headers["DEK-Info"] != "" {
		return nil, errors.New("the private key can't be decoded")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("it is not an RSA key")
	}
	if !key.PublicKey.Equal(of.PublicKey) {
		return nil, errors.New("it is not the certificate's key")
	}
	return key, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("the file is too large")
	}
	return data, err
}
