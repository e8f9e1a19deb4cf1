package finish

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func certificate(t *testing.T, subject pkix.Name) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject, NotAfter: time.Unix(epoch, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

var subjects = []pkix.Name{
	{CommonName: "Simple"},
	{CommonName: "  Many   Spaces ", Organization: []string{"ÜBER Größe GmbH"}, Country: []string{"DE"}},
	{CommonName: "Two", OrganizationalUnit: []string{"b", "A"}, Locality: []string{"X\tY"}},
}

func TestCertificates(t *testing.T) {
	a, b, c := certificate(t, subjects[0]), certificate(t, subjects[0]), certificate(t, subjects[1])
	r := newTree(t, files{
		"usr/share/ca-certificates/mozilla/A_(x).crt": strings.TrimSuffix(a, "\n"), "usr/share/ca-certificates/mozilla/B.crt": b,
		"usr/share/ca-certificates/mozilla/README": "x", "usr/local/share/ca-certificates/own.crt": c,
	})
	if err := makeCertificates(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{"etc/ssl/certs/ca-certificates.crt": a + b + c})
	hash := opensslHash(t, a)
	want := []string{
		"A_=x=.pem -> /usr/share/ca-certificates/mozilla/A_(x).crt", "B.pem -> /usr/share/ca-certificates/mozilla/B.crt",
		hash + ".0 -> A_=x=.pem", hash + ".1 -> B.pem", opensslHash(t, c) + ".0 -> own.pem",
		"own.pem -> /usr/local/share/ca-certificates/own.crt",
	}
	slices.Sort(want)
	if got := links(t, r, "etc/ssl/certs"); !slices.Equal(got, want) {
		t.Errorf("links:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDeselectedCertificate(t *testing.T) {
	r := newTree(t, files{"usr/share/ca-certificates/a.crt": certificate(t, subjects[0]), "etc/ca-certificates.conf": "# x\n!a.crt\n"})
	if err := makeCertificates(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	if got := links(t, r, "etc/ssl/certs"); len(got) > 0 {
		t.Errorf("links: %q", got)
	}
}

func TestNoCertificate(t *testing.T) {
	for _, s := range []string{"garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		r := newTree(t, files{"usr/share/ca-certificates/a.crt": s})
		if err := makeCertificates(t.Context(), r, input(t)); err == nil || !strings.Contains(err.Error(), "a.crt") {
			t.Errorf("%q: got %v", s, err)
		}
	}
}

func TestSubjectHash(t *testing.T) {
	for _, s := range subjects {
		text := certificate(t, s)
		block, _ := pem.Decode([]byte(text))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		got, err := subjectHash(cert.RawSubject)
		if err != nil {
			t.Fatal(err)
		}
		if want := opensslHash(t, text); got != want {
			t.Errorf("%v: got %s, want %s", s, got, want)
		}
	}
}

func opensslHash(t *testing.T, certificate string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(name, []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("openssl", "x509", "-noout", "-subject_hash", "-in", name).Output()
	if err != nil {
		t.Fatalf("running openssl (package openssl): %v", err)
	}
	return strings.TrimSpace(string(out))
}

func FuzzSubjectHash(f *testing.F) {
	f.Add([]byte("\x30\x0d\x31\x0b\x30\x09\x06\x03U\x04\x06\x13\x02DE"))
	f.Fuzz(func(t *testing.T, der []byte) {
		if hash, err := subjectHash(der); err == nil && len(hash) != 8 {
			t.Errorf("hash %q", hash)
		}
	})
}
