package callback

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the files in fixtures/webhooks anew")

// vector is one file in fixtures/webhooks: a request and what a receiver must
// make of it.
type vector struct {
	Description string            `json:"description"`
	Secrets     []string          `json:"secrets"`
	Now         int64             `json:"now"`
	Headers     map[string]string `json:"headers"`
	Body        string            `json:"body"`
	// Verdict is "ok", "bad_signature" or "stale_timestamp".
	Verdict string `json:"verdict"`
}

const (
	rawSecret  = "correct horse battery staple"
	nextSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	sentAt     = 1795305600
)

func vectors(t *testing.T) map[string]vector {
	body, err := example().Encode()
	if err != nil {
		t.Fatal(err)
	}
	signed := func(description, verdict string, receiver []string, now int64, senders []Secret, change func(*vector)) vector {
		h := http.Header{}
		if err := Sign(h, body, MessageID(body), time.Unix(sentAt, 0), senders...); err != nil {
			t.Fatal(err)
		}
		v := vector{Description: description, Secrets: receiver, Now: now, Headers: map[string]string{}, Body: string(body), Verdict: verdict}
		for name := range h {
			v.Headers[strings.ToLower(name)] = h.Get(name)
		}
		if change != nil {
			change(&v)
		}
		return v
	}
	old, both := []Secret{rawSecret}, []Secret{rawSecret, nextSecret}
	return map[string]vector{
		"raw-secret": signed("all headers, a secret that is used as it stands", "ok", []string{rawSecret}, sentAt+3, old, nil),
		"whsec-secret": signed("a secret with whsec_: decoded for webhook-signature, as it stands for x-powernode-signature", "ok",
			[]string{nextSecret}, sentAt, []Secret{nextSecret}, nil),
		"powernode-only": signed("today's platform contract: one header, no timestamp", "ok", []string{rawSecret}, sentAt+1e6, old, func(v *vector) {
			v.Headers = map[string]string{"x-powernode-signature": v.Headers["x-powernode-signature"]}
		}),
		"rotation-receiver":       signed("the receiver knows the old and the new secret, the sender the old one", "ok", []string{nextSecret, rawSecret}, sentAt, old, nil),
		"rotation-sender":         signed("the sender signs with both secrets", "ok", []string{rawSecret}, sentAt, both, nil),
		"wrong-secret":            signed("signed with another secret", "bad_signature", []string{"another"}, sentAt, old, nil),
		"tampered-body":           signed("one byte of the body differs", "bad_signature", []string{rawSecret}, sentAt, old, func(v *vector) { v.Body = strings.Replace(v.Body, "amd64", "arm64", 1) }),
		"tampered-timestamp":      signed("the timestamp was moved to look fresh", "bad_signature", []string{rawSecret}, sentAt+9000, old, func(v *vector) { v.Headers["webhook-timestamp"] = fmt.Sprint(sentAt + 9000) }),
		"missing-timestamp":       signed("the Standard Webhooks headers are incomplete", "bad_signature", []string{rawSecret}, sentAt, old, func(v *vector) { delete(v.Headers, "webhook-timestamp") }),
		"no-signature":            signed("no signature at all", "bad_signature", []string{rawSecret}, sentAt, old, func(v *vector) { v.Headers = map[string]string{} }),
		"one-signature-is-forged": signed("webhook-signature is right, x-powernode-signature is not", "bad_signature", []string{rawSecret}, sentAt, old, func(v *vector) { v.Headers["x-powernode-signature"] = "sha256=" + digest }),
		"stale":                   signed("a replay, six minutes later", "stale_timestamp", []string{rawSecret}, sentAt+360, old, nil),
		"future":                  signed("the sender's clock is six minutes fast", "stale_timestamp", []string{rawSecret}, sentAt-360, old, nil),
		"standard-webhooks-reference": {
			Description: "the vector of the Standard Webhooks reference libraries", Verdict: "ok",
			Secrets: []string{nextSecret}, Now: 1614265330, Body: `{"test": 2432232314}`,
			Headers: map[string]string{"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
				"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		},
	}
}

func TestVectors(t *testing.T) {
	dir := filepath.Join("..", "fixtures", "webhooks")
	want := vectors(t)
	for name, v := range want {
		data, _ := json.MarshalIndent(v, "", "  ")
		data = append(data, '\n')
		path := filepath.Join(dir, name+".json")
		if *update {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: differs (%v); run the test with -update", path, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d files in %s, want %d (%v)", len(files), dir, len(want), err)
	}
	for _, path := range files {
		checkVector(t, path)
	}
}

func checkVector(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	for name, value := range v.Headers {
		h.Set(name, value)
	}
	var secrets []Secret
	for _, s := range v.Secrets {
		secrets = append(secrets, Secret(s))
	}
	d, err := Verify(h, []byte(v.Body), time.Unix(v.Now, 0), Tolerance, secrets...)
	if got := map[error]string{nil: "ok", ErrSignature: "bad_signature", ErrStale: "stale_timestamp"}[err]; got != v.Verdict {
		t.Errorf("%s: verdict %q, want %q", path, got, v.Verdict)
	}
	if err == nil && d.ID != v.Headers["webhook-id"] {
		t.Errorf("%s: identifier %q", path, d.ID)
	}
}

func TestVerifyRefusesMalformedHeaders(t *testing.T) {
	body := []byte("x")
	good := http.Header{}
	if err := Sign(good, body, "msg_1", time.Unix(sentAt, 0), rawSecret); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(http.Header){
		"no prefix":         func(h http.Header) { h.Set(HeaderSignature, strings.TrimPrefix(h.Get(HeaderSignature), "sha256=")) },
		"short":             func(h http.Header) { h.Set(HeaderSignature, "sha256=00") },
		"empty":             func(h http.Header) { h.Set(HeaderSignature, "") },
		"two of one":        func(h http.Header) { h.Add(HeaderSignature, h.Get(HeaderSignature)) },
		"two timestamps":    func(h http.Header) { h.Add(HeaderTimestamp, h.Get(HeaderTimestamp)) },
		"padded timestamp":  func(h http.Header) { h.Set(HeaderTimestamp, "+"+h.Get(HeaderTimestamp)) },
		"dot in identifier": func(h http.Header) { h.Set(HeaderID, "msg.1") },
		"too many": func(h http.Header) {
			h.Set(HeaderStandardSignature, strings.Repeat(h.Get(HeaderStandardSignature)+" ", 17))
		},
		"other version": func(h http.Header) {
			h.Set(HeaderStandardSignature, "v1a"+strings.TrimPrefix(h.Get(HeaderStandardSignature), "v1"))
		},
	} {
		h := good.Clone()
		change(h)
		if _, err := Verify(h, body, time.Unix(sentAt, 0), Tolerance, rawSecret); err != ErrSignature {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Verify(good, body, time.Unix(sentAt, 0), Tolerance); err != ErrSignature {
		t.Errorf("no secrets: %v", err)
	}
}

func TestSecretNeverShows(t *testing.T) {
	s := &Sender{Secret: rawSecret, Rotation: []Secret{nextSecret}}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s.Secret, "sender", struct{ Secret Secret }{s.Secret})
	text, err := json.Marshal(struct{ S Secret }{s.Secret})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d %s %s", s, *s, *s, s.Secret, s.Secret, s.Secret, s.Secret, log.String(), text)
	for _, secret := range []string{rawSecret, nextSecret, fmt.Sprintf("%x", rawSecret)} {
		if strings.Contains(all, secret) {
			t.Errorf("a secret shows in %s", all)
		}
	}
}

func TestSecretCheck(t *testing.T) {
	for secret, ok := range map[Secret]bool{"x": true, nextSecret: true, "": false, "whsec_": false, "whsec_!!": false} {
		if err := secret.Check(); (err == nil) != ok {
			t.Errorf("%q: %v", string(secret), err)
		} else if err != nil && strings.Contains(err.Error(), "!!") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("sha256="+digest, "msg_1", "1795305600", "v1,AAAA", []byte("{}"))
	f.Add("", "", "", "", []byte(nil))
	f.Fuzz(func(t *testing.T, powernode, id, stamp, list string, body []byte) {
		h := http.Header{HeaderSignature: {powernode}, HeaderID: {id}, HeaderTimestamp: {stamp}, HeaderStandardSignature: {list}}
		if _, err := Verify(h, body, time.Unix(sentAt, 0), Tolerance, rawSecret); err == nil {
			t.Fatal("a request was verified that nobody signed")
		}
	})
}
