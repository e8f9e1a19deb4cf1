package finish

import (
	"crypto/sha1"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// attribute is an AttributeTypeAndValue of a distinguished name (RFC 5280,
// 4.1.2.4).
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// Tags of string types that OpenSSL makes canonical (X.680).
const (
	tagT61 = 20
	tagUTF = asn1.TagUTF8String
)

// subjectHash returns the name under which OpenSSL looks a certificate up: the
// first four bytes of the SHA-1 of the subject's canonical encoding, as a
// little-endian number in hex (X509_NAME_hash_ex, x509_name_canon).
func subjectHash(subject []byte) (string, error) {
	var sets []asn1.RawValue
	if _, err := asn1.Unmarshal(subject, &sets); err != nil {
		return "", fmt.Errorf("parsing the subject: %w", err)
	}
	var canon []byte
	for _, s := range sets {
		var attributes []attribute
		if _, err := asn1.UnmarshalWithParams(s.FullBytes, &attributes, "set"); err != nil {
			return "", fmt.Errorf("parsing the subject: %w", err)
		}
		for i := range attributes {
			if err := attributes[i].makeCanonical(); err != nil {
				return "", err
			}
		}
		der, err := asn1.MarshalWithParams(attributes, "set")
		if err != nil {
			return "", err
		}
		canon = append(canon, der...)
	}
	sum := sha1.Sum(canon)
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(sum[:4])), nil
}

// makeCanonical turns a string into UTF-8 in lower case with single spaces.
func (a *attribute) makeCanonical() error {
	var text string
	switch a.Value.Tag {
	case tagUTF, asn1.TagPrintableString, asn1.TagIA5String, 26: // and VisibleString
		text = string(a.Value.Bytes)
	case tagT61: // OpenSSL takes it for Latin-1
		for _, b := range a.Value.Bytes {
			text += string(rune(b))
		}
	case asn1.TagBMPString:
		var units []uint16
		for i := 0; i+1 < len(a.Value.Bytes); i += 2 {
			units = append(units, binary.BigEndian.Uint16(a.Value.Bytes[i:]))
		}
		text = string(utf16.Decode(units))
	default:
		return nil
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' })
	lower := []byte(strings.Join(words, " "))
	for i, b := range lower { // ASCII only
		if b >= 'A' && b <= 'Z' {
			lower[i] = b + 'a' - 'A'
		}
	}
	der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassUniversal, Tag: tagUTF, Bytes: lower})
	if err != nil {
		return err
	}
	a.Value = asn1.RawValue{FullBytes: der}
	return nil
}
