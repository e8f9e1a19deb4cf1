package callback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a delivery, in the form that package http gives them; HTTP
// itself doesn't tell cases apart.
const (
	HeaderSignature         = "X-Powernode-Signature"
	HeaderID                = "Webhook-Id"
	HeaderTimestamp         = "Webhook-Timestamp"
	HeaderStandardSignature = "Webhook-Signature"
)

const (
	powernodePrefix = "sha256="
	standardPrefix  = "v1,"
	secretPrefix    = "whsec_"
)

// Secret is the key that sender and receiver share. Printing or logging it, or
// a struct that holds it, shows "[secret]"; convert it to string where it is
// really meant.
//
// X-Powernode-Signature is always keyed with the secret's bytes as they stand.
// webhook-signature is as well, unless the secret begins with "whsec_": then
// the rest is the key in base64 (RFC 4648 section 4), as the Standard Webhooks
// specification serializes keys.
type Secret string

// Format writes "[secret]", whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// String returns "[secret]".
func (Secret) String() string { return "[secret]" }

// LogValue returns "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText returns "[secret]", so that no JSON holds a secret by mistake.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Check says what is wrong with a secret that can't sign.
func (s Secret) Check() error {
	_, err := s.standardKey()
	return err
}

// standardKey returns the key of webhook-signature.
func (s Secret) standardKey() ([]byte, error) {
	if s == "" {
		return nil, errors.New("the secret is empty")
	}
	encoded, ok := strings.CutPrefix(string(s), secretPrefix)
	if !ok {
		return []byte(s), nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("the secret begins with %q, but no base64 follows", secretPrefix)
	}
	return key, nil
}

// Sign sets the four signature headers for a body that is sent now. The first
// secret signs both ways; every further one, during a rotation, adds a
// signature to webhook-signature.
func Sign(h http.Header, body []byte, id string, now time.Time, secrets ...Secret) error {
	if len(secrets) == 0 {
		return errors.New("signing event: no secret")
	}
	if !validID(id) {
		return fmt.Errorf("signing event: %q is not a message identifier", clip(id))
	}
	stamp := strconv.FormatInt(now.Unix(), 10)
	var list []string
	for _, s := range secrets {
		key, err := s.standardKey()
		if err != nil {
			return fmt.Errorf("signing event: %w", err)
		}
		list = append(list, standardPrefix+base64.StdEncoding.EncodeToString(standardMAC(key, id, stamp, body)))
	}
	h.Set(HeaderSignature, powernodePrefix+hex.EncodeToString(bodyMAC(secrets[0], body)))
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, stamp)
	h.Set(HeaderStandardSignature, strings.Join(list, " "))
	return nil
}

func bodyMAC(s Secret, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(s))
	mac.Write(body)
	return mac.Sum(nil)
}

// standardMAC signs "id.timestamp.body".
func standardMAC(key []byte, id, stamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// validID reports whether an identifier is visible ASCII without a dot: with
// one, "id.timestamp.body" could be split in two ways.
func validID(id string) bool {
	if id == "" || len(id) > 256 {
		return false
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' || c == '.' {
			return false
		}
	}
	return true
}
