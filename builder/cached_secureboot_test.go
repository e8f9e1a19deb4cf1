package builder

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/secureboot"
)

// newSigners returns who signs for Secure Boot, with and without the private key,
// and a prime of that.
func newSigners(t *testing.T) (whole, public *secureboot.Signer, prime []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(9, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, private := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, private: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func(key string) *secureboot.Signer {
		s, err := secureboot.Open(secureboot.Config{Certificate: certificate, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return open(private), open(""), key.Primes[0].Bytes()
}

// TestSignedUKIWithoutTheKey repeats a signed build on a machine that has only
// the certificate. What has to be signed anew still needs the key, and the key is
// in no file of the cache.
func TestSignedUKIWithoutTheKey(t *testing.T) {
	s := newSmall(t)
	whole, public, prime := newSigners(t)
	c := s.config(t, true)
	c.SecureBoot = whole
	signed := s.build(t, c)
	c.SecureBoot = public
	again := s.build(t, c)
	again.want(t, "", allOutputs)
	if !maps.Equal(signed.files, again.files) {
		t.Error("the repeated build gave other files")
	}
	s.text += "cmdline: [quiet]\n"
	f, p := s.plan(t, c)
	output := t.TempDir()
	_, err := Run(t.Context(), c, f, p, output)
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "no private key") {
		t.Errorf("Run = %v", err)
	}
	if left, err := os.ReadDir(output); err != nil || len(left) > 0 {
		t.Errorf("the output folder holds %v, %v", left, err)
	}
	c.CacheFrom = newFolderRemote(t) // which might have it, but hasn't
	if _, err = Run(t.Context(), c, f, p, output); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "no private key") {
		t.Errorf("with a remote cache, Run = %v", err)
	}
	for name, data := range filesOf(t, s.cache) {
		if strings.Contains(data, string(prime)) || strings.Contains(data, "PRIVATE KEY") {
			t.Errorf("%s of the cache holds the private key", name)
		}
	}
	c.SecureBoot = nil
	s.text = smallDefinition
	if unsigned := s.build(t, c); unsigned.files["amd64/raw/small-amd64.img"] == signed.files["amd64/raw/small-amd64.img"] {
		t.Error("an unsigned build took the signed image")
	}
}
