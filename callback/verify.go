package callback

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far a delivery's timestamp may lie from the receiver's
// clock, in either direction.
const Tolerance = 5 * time.Minute

// What Verify finds wrong.
var (
	ErrSignature = errors.New("the signature is missing, malformed or of another secret or body")
	ErrStale     = errors.New("the signed timestamp is too far from the receiver's clock")
)

// Delivery is what the Standard Webhooks headers of a verified request say; the
// zero value stands for a request without them.
type Delivery struct {
	// ID names the message, not the attempt: a resend has the same.
	ID string
	At time.Time
}

// maxSignatures bounds the list in webhook-signature.
const maxSignatures = 16

// Verify checks the signatures of a request over its raw body. One of
// X-Powernode-Signature and the three Standard Webhooks headers must be there;
// whatever is there must be right for one of the secrets. With the Standard
// Webhooks headers the timestamp must be within the tolerance of now.
//
// The time it takes depends on the lengths of its arguments only, not on
// which byte of which signature differs. The error is ErrSignature or ErrStale.
func Verify(h http.Header, body []byte, now time.Time, tolerance time.Duration, secrets ...Secret) (Delivery, error) {
	powernode, standard, err := parseHeaders(h)
	if err != nil {
		return Delivery{}, err
	}
	powernodeOK, standardOK := powernode == nil, standard == nil
	for _, s := range secrets {
		if powernode != nil {
			ok := hmac.Equal(powernode, bodyMAC(s, body))
			powernodeOK = powernodeOK || ok
		}
		key, err := s.standardKey()
		if standard == nil || err != nil {
			continue
		}
		want := standardMAC(key, standard.id, standard.stamp, body)
		for _, signature := range standard.signatures {
			ok := hmac.Equal(signature, want)
			standardOK = standardOK || ok
		}
	}
	if !powernodeOK || !standardOK || len(secrets) == 0 {
		return Delivery{}, ErrSignature
	}
	if standard == nil {
		return Delivery{}, nil
	}
	if d := now.Sub(standard.at); d > tolerance || d < -tolerance {
		return Delivery{}, ErrStale
	}
	return Delivery{ID: standard.id, At: standard.at}, nil
}

// standardHeaders are the Standard Webhooks headers, decoded.
type standardHeaders struct {
	id, stamp  string
	at         time.Time
	signatures [][]byte
}

// parseHeaders decodes the signature headers; what is absent is nil, and a
// request with neither kind is refused.
func parseHeaders(h http.Header) (powernode []byte, standard *standardHeaders, err error) {
	if values := h.Values(HeaderSignature); len(values) > 0 {
		encoded, ok := strings.CutPrefix(values[0], powernodePrefix)
		powernode, err = hex.DecodeString(encoded)
		if err != nil || !ok || len(values) > 1 || len(powernode) != 32 {
			return nil, nil, ErrSignature
		}
	}
	id, stamps, lists := h.Values(HeaderID), h.Values(HeaderTimestamp), h.Values(HeaderStandardSignature)
	switch {
	case len(id)+len(stamps)+len(lists) > 0:
		if len(id) != 1 || len(stamps) != 1 || len(lists) != 1 {
			return nil, nil, ErrSignature
		}
		standard, err = parseStandard(id[0], stamps[0], lists[0])
		return powernode, standard, err
	case powernode == nil:
		return nil, nil, ErrSignature
	}
	return powernode, nil, nil
}

func parseStandard(id, stamp, list string) (*standardHeaders, error) {
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	// Only the one canonical form: the signature covers the text.
	if err != nil || seconds < 0 || strconv.FormatInt(seconds, 10) != stamp || !validID(id) {
		return nil, ErrSignature
	}
	s := &standardHeaders{id: id, stamp: stamp, at: time.Unix(seconds, 0).UTC()}
	entries := strings.Split(list, " ")
	if len(entries) > maxSignatures {
		return nil, ErrSignature
	}
	for _, entry := range entries {
		encoded, ok := strings.CutPrefix(entry, standardPrefix)
		if !ok {
			continue // another version of the scheme, "v1a" for instance
		}
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(signature) != 32 {
			return nil, ErrSignature
		}
		s.signatures = append(s.signatures, signature)
	}
	if len(s.signatures) == 0 {
		return nil, ErrSignature
	}
	return s, nil
}
