package secureboot

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/uki/authenticode/authenticodetest"
)

// files are a signer's files.
type files struct{ dir, key, certificate string }

func newFiles(t *testing.T, bits int) files {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Test signer"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := files{dir, filepath.Join(dir, "key.pem"), filepath.Join(dir, "certificate.pem")}
	writePEM(t, f.key, "PRIVATE KEY", pkcs8)
	writePEM(t, f.certificate, "CERTIFICATE", der)
	return f
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func sign(t *testing.T, s *Signer) []byte {
	t.Helper()
	program := authenticodetest.Program(".text", ".data")
	var out bytes.Buffer
	if err := s.Sign(t.Context(), &out, bytes.NewReader(program), int64(len(program))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPEM(t *testing.T) {
	f := newFiles(t, 2048)
	s, err := Open(Config{Certificate: f.certificate, Key: f.key})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(mustRead(t, f.certificate))
	sum := sha256.Sum256(block.Bytes)
	if s.Digest() != hex.EncodeToString(sum[:]) {
		t.Errorf("digest %s, want the fingerprint %x", s.Digest(), sum)
	}
	one := sign(t, s)
	authenticodetest.Verify(t, one, f.certificate)
	if !bytes.Equal(one, sign(t, s)) {
		t.Error("two signatures differ")
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestToken signs with a key in SoftHSM and gets the bytes that the same key in
// a file gives.
func TestToken(t *testing.T) {
	f := newFiles(t, 2048)
	module := newToken(t, f)
	uri := "pkcs11:token=boot%20keys;object=uki;id=%01;type=private?module-path=" + module
	pin := filepath.Join(f.dir, "pin")
	if err := os.WriteFile(pin, []byte("1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile, err := Open(Config{Certificate: f.certificate, Key: f.key})
	if err != nil {
		t.Fatal(err)
	}
	want := sign(t, fromFile)
	for name, c := range map[string]Config{
		"variable":   {Certificate: f.certificate, Key: uri, PIN: "1234", Run: Exec},
		"pin-source": {Certificate: f.certificate, Key: uri + "&pin-source=file:" + pin, Run: Exec},
	} {
		s, err := Open(c)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(sign(t, s), want) {
			t.Errorf("%s: the token signs otherwise than the file", name)
		}
	}
	program := authenticodetest.Program(".text")
	for name, x := range map[string]struct {
		c    Config
		want string
	}{
		"wrong PIN":         {Config{Key: uri, PIN: "4321"}, "CKR_PIN_INCORRECT"},
		"no such key":       {Config{Key: strings.ReplaceAll(uri, "%01", "%02"), PIN: "1234"}, "not found"},
		"other certificate": {Config{Certificate: newFiles(t, 2048).certificate, Key: uri, PIN: "1234"}, "its signature doesn't verify"},
	} {
		if x.c.Certificate == "" {
			x.c.Certificate = f.certificate
		}
		x.c.Run = Exec
		s, err := Open(x.c)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Sign(t.Context(), &bytes.Buffer{}, bytes.NewReader(program), int64(len(program)))
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), x.c.PIN) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// newToken imports the key into a token of its own and returns its module.
func newToken(t *testing.T, f files) string {
	t.Helper()
	const module = "/usr/lib/softhsm/libsofthsm2.so"
	if _, err := os.Stat(module); err != nil {
		t.Fatalf("%v; install the Debian package softhsm2", err)
	}
	if _, err := exec.LookPath("pkcs11-tool"); err != nil {
		t.Fatalf("%v; install the Debian package opensc", err)
	}
	config := filepath.Join(f.dir, "softhsm2.conf")
	text := "directories.tokendir = " + t.TempDir() + "\nobjectstore.backend = file\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	for _, args := range [][]string{
		{"--init-token", "--free", "--label", "boot keys", "--pin", "1234", "--so-pin", "5678"},
		{"--import", f.key, "--token", "boot keys", "--label", "uki", "--id", "01", "--pin", "1234"},
	} {
		if out, err := exec.Command("softhsm2-util", args...).CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util %v: %v\n%s", args, err, out)
		}
	}
	return module
}

func TestMissingTool(t *testing.T) {
	f := newFiles(t, 2048)
	t.Setenv("PATH", t.TempDir())
	s, err := Open(Config{Certificate: f.certificate, Key: "pkcs11:object=uki", PIN: "1", Run: Exec})
	if err != nil {
		t.Fatal(err)
	}
	program := authenticodetest.Program(".text")
	err = s.Sign(t.Context(), &bytes.Buffer{}, bytes.NewReader(program), int64(len(program)))
	if fault.ClassOf(err) != fault.Tool || !strings.Contains(err.Error(), "install the package opensc") {
		t.Errorf("%v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good, other := newFiles(t, 2048), newFiles(t, 2048)
	small := newFiles(t, 1024)
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("secret words"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.pem")
	writePEM(t, damaged, "PRIVATE KEY", []byte("secret words"))
	encrypted := filepath.Join(t.TempDir(), "encrypted.pem")
	writePEM(t, encrypted, "ENCRYPTED PRIVATE KEY", []byte("secret words"))
	for name, x := range map[string]struct {
		c    Config
		want string
	}{
		"no certificate":      {Config{Certificate: junk + "x"}, "no such file"},
		"junk certificate":    {Config{Certificate: junk}, "no certificate in PEM form"},
		"key as certificate":  {Config{Certificate: good.key}, `PEM block of type "PRIVATE KEY"`},
		"small key":           {Config{Certificate: small.certificate}, "2048 bits or more"},
		"no key":              {Config{Certificate: good.certificate, Key: junk + "x"}, "no such file"},
		"junk key":            {Config{Certificate: good.certificate, Key: junk}, "not in PEM form"},
		"damaged key":         {Config{Certificate: good.certificate, Key: damaged}, "can't be decoded"},
		"encrypted key":       {Config{Certificate: good.certificate, Key: encrypted}, "it is encrypted"},
		"certificate as key":  {Config{Certificate: good.certificate, Key: good.certificate}, "no private key"},
		"other key":           {Config{Certificate: good.certificate, Key: other.key}, "not the certificate's key"},
		"no PIN":              {Config{Certificate: good.certificate, Key: "pkcs11:object=a"}, "BOOTSMITH_SECURE_BOOT_PIN"},
		"PIN in the URI":      {Config{Certificate: good.certificate, Key: "pkcs11:object=a?pin-value=secret"}, "remove pin-value"},
		"unnamed key":         {Config{Certificate: good.certificate, Key: "pkcs11:token=a"}, "names no key"},
		"unknown attribute":   {Config{Certificate: good.certificate, Key: "pkcs11:object=a;serial=5"}, `"serial" is not supported`},
		"public key":          {Config{Certificate: good.certificate, Key: "pkcs11:object=a;type=cert"}, "not a private key"},
		"relative module":     {Config{Certificate: good.certificate, Key: "pkcs11:object=a?module-path=x.so"}, "not absolute"},
		"program as pin":      {Config{Certificate: good.certificate, Key: "pkcs11:object=a?pin-source=|cat"}, "not an absolute file"},
		"missing pin file":    {Config{Certificate: good.certificate, Key: "pkcs11:object=a?pin-source=file:" + junk + "x"}, "no such file"},
		"bad escape":          {Config{Certificate: good.certificate, Key: "pkcs11:object=%zz"}, "not correctly encoded"},
		"no value":            {Config{Certificate: good.certificate, Key: "pkcs11:object"}, "without a value"},
		"slot is not numeric": {Config{Certificate: good.certificate, Key: "pkcs11:object=a;slot-id=x"}, "not a number"},
	} {
		_, err := Open(x.c)
		if err == nil || fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := Open(Config{Certificate: good.certificate})
	if err != nil || s.CanSign() {
		t.Fatalf("a certificate alone: %v, %v", s, err)
	}
	if err := s.Sign(context.Background(), nil, nil, 0); fault.ClassOf(err) != fault.Input {
		t.Errorf("signing without a key: %v", err)
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("pkcs11:token=a;object=b;id=%00%ff?module-path=/m")
	f.Add("pkcs11:?&;;=")
	f.Fuzz(func(t *testing.T, uri string) {
		if strings.Contains(uri, "pin-source") {
			return // reads files
		}
		if l, err := parseURI(uri); err == nil && l.object == "" && len(l.id) == 0 {
			t.Errorf("%q names no key", uri)
		}
	})
}
