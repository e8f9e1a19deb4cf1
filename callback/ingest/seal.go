package ingest

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/powernode/bootsmith/callback"
)

// sealer encrypts webhook secrets with AES-256-GCM. The sealed form is base64 of
// a version byte, the 12-byte nonce and the ciphertext with its tag; the
// webhook's identifier is authenticated along, so that a secret can't be moved
// to another row.
type sealer struct {
	aead cipher.AEAD
	rand io.Reader
}

const sealVersion = 1

func newSealer(key []byte, rand io.Reader) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, rand: rand}, nil
}

func (s *sealer) seal(id string, secret callback.Secret) (string, error) {
	head := make([]byte, 1+s.aead.NonceSize())
	head[0] = sealVersion
	if _, err := io.ReadFull(s.rand, head[1:]); err != nil {
		return "", fmt.Errorf("sealing secret: %w", err)
	}
	sealed := s.aead.Seal(head, head[1:], []byte(secret), []byte(id))
	return base64.StdEncoding.EncodeToString(sealed), nil
}

func (s *sealer) open(id, sealed string) (callback.Secret, error) {
	data, err := base64.StdEncoding.DecodeString(sealed)
	n := 1 + s.aead.NonceSize()
	if err != nil || len(data) < n || data[0] != sealVersion {
		return "", fmt.Errorf("opening secret of webhook %q: not a sealed secret", id)
	}
	secret, err := s.aead.Open(nil, data[1:n], data[n:], []byte(id))
	if err != nil {
		return "", errors.New("opening secret of webhook " + id + ": the key is another one, or the row was changed")
	}
	return callback.Secret(secret), nil
}

// newID returns a random UUID (RFC 9562, version 4) as text.
func newID(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("making an identifier: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

// newSecret returns a webhook secret: 32 random bytes as the Standard Webhooks
// specification serializes them.
func newSecret(rand io.Reader) (callback.Secret, error) {
	var b [32]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("making a secret: %w", err)
	}
	return callback.Secret("whsec_" + base64.StdEncoding.EncodeToString(b[:])), nil
}
