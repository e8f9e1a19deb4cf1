package authenticode

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"

	"github.com/sassoftware/relic/lib/pkcs7"
)

// The structures of Microsoft's specification, chapter "Authenticode-Specific
// Structures in PKCS#7 SignedData".
type (
	// indirectData is SpcIndirectDataContent: the content that is signed.
	indirectData struct {
		Data          imageAttribute
		MessageDigest digestInfo
	}
	imageAttribute struct {
		Type  asn1.ObjectIdentifier
		Value imageData
	}
	// imageData is SpcPeImageData; File holds a fixed text.
	imageData struct {
		Flags asn1.BitString
		File  link `asn1:"tag:0"`
	}
	link struct {
		File bmpString `asn1:"tag:2"`
	}
	bmpString struct {
		Unicode []byte `asn1:"tag:0"`
	}
	digestInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	// opusInfo is SpcSpOpusInfo; its fields are optional.
	opusInfo struct{}
)

// MinKeyBits is the smallest RSA key that signs.
const MinKeyBits = 2048

// signedData returns PKCS#7 SignedData over the digest of a program.
func signedData(digest []byte, by Identity) ([]byte, error) {
	if err := check(by); err != nil {
		return nil, err
	}
	b := pkcs7.NewBuilder(by.Key, by.Certificates, crypto.SHA256)
	content := indirectData{
		Data:          imageAttribute{Type: oid(15), Value: imageData{File: link{bmpString{bmp("<<<Obsolete>>>")}}}},
		MessageDigest: digestInfo{pkix.AlgorithmIdentifier{Algorithm: oidSHA256(), Parameters: asn1.NullRawValue}, digest},
	}
	if err := b.SetContent(oid(4), content); err != nil {
		return nil, err
	}
	// The library appends content type and digest. DER wants attributes in
	// ascending order, which for these three is the order of their lengths.
	if err := b.AddAuthenticatedAttribute(oid(12), opusInfo{}); err != nil {
		return nil, err
	}
	signed, err := b.Sign()
	if err != nil {
		return nil, err
	}
	if err := verify(signed, by); err != nil {
		return nil, err
	}
	return signed.Marshal()
}

func check(by Identity) error {
	if len(by.Certificates) == 0 {
		return errors.New("there is no certificate")
	}
	key, ok := by.Certificates[0].PublicKey.(*rsa.PublicKey)
	switch {
	case !ok:
		return errors.New("the certificate's key is not an RSA key, the only kind that firmware takes")
	case key.N.BitLen() < MinKeyBits:
		return fmt.Errorf("the certificate's RSA key has %d bits, and %d are the least", key.N.BitLen(), MinKeyBits)
	case !key.Equal(by.Key.Public()):
		return errors.New("the private key is not the certificate's")
	}
	return nil
}

// verify makes sure that a key in a token is the certificate's: it signed
// without anyone having seen its public half.
func verify(signed *pkcs7.ContentInfoSignedData, by Identity) error {
	info := signed.Content.SignerInfos[0]
	attributes, err := info.AuthenticatedAttributes.Bytes()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(attributes)
	key := by.Certificates[0].PublicKey.(*rsa.PublicKey) // by check
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], info.EncryptedDigest) != nil {
		return errors.New("the private key is not the certificate's: its signature doesn't verify")
	}
	return nil
}

// oid returns a name below spcIndirectData's arc, 1.3.6.1.4.1.311.2.1.
func oid(last int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, last}
}

func oidSHA256() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1} }

// bmp encodes a text in UTF-16, big-endian, as BMPString does.
func bmp(s string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.BigEndian.AppendUint16(b, unit)
	}
	return b
}
