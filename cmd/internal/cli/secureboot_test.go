package cli

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/secureboot"
	"github.com/powernode/bootsmith/builder/spec"
)

// writeSigner writes key.pem and certificate.pem into dir and returns the
// certificate's digest.
func writeSigner(t *testing.T, dir string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{
		"key.pem":         {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)},
		"certificate.pem": {Type: "CERTIFICATE", Bytes: der},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := secureboot.Open(secureboot.Config{Certificate: filepath.Join(dir, "certificate.pem")})
	if err != nil {
		t.Fatal(err)
	}
	return s.Digest()
}

// Flags come before the environment, which comes before the definition.
func TestWhoSigns(t *testing.T) {
	dir := t.TempDir()
	digests := map[string]string{}
	for _, name := range []string{"flag", "variable", "definition"} {
		digests[name] = writeSigner(t, filepath.Join(dir, name))
	}
	const definition = "name: x\nroot:\n  packages: {suite: trixie, include: [ab]}\n"
	read := func(more string) *spec.File {
		f, err := spec.Read(write(t, filepath.Join(dir, "platform.yaml"), definition+more))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	flags := secureBootFlags{certificate: file("flag/certificate.pem"), key: file("flag/key.pem")}
	variables := map[string]string{SecureBootCertVariable: file("variable/certificate.pem"), SecureBootKeyVariable: file("variable/key.pem")}
	signed := "secure_boot: {certificate: definition/certificate.pem, key: definition/key.pem}\n"
	for name, x := range map[string]struct {
		flags     secureBootFlags
		variables map[string]string
		more      string
		want      string // digest's name
		err       string
	}{
		"nobody":                  {},
		"flags":                   {flags: flags, variables: variables, more: signed, want: "flag"},
		"variables":               {variables: variables, more: signed, want: "variable"},
		"definition":              {more: signed, want: "definition"},
		"key without certificate": {flags: secureBootFlags{key: flags.key}, err: "set BOOTSMITH_SECURE_BOOT_CERT"},
		"key of another":          {flags: secureBootFlags{key: flags.key}, more: signed, err: "not the certificate's key"},
		"token's PIN is missing":  {flags: secureBootFlags{key: "pkcs11:object=a"}, more: signed, err: "BOOTSMITH_SECURE_BOOT_PIN"},
		"token":                   {flags: secureBootFlags{key: "pkcs11:object=a"}, variables: map[string]string{SecureBootPINVariable: "1"}, more: signed, want: "definition"},
		"token in the definition": {more: strings.Replace(signed, "definition/key.pem", "\"pkcs11:object=a?pin-value=1\"", 1), err: "remove pin-value"},
		"certificate, but no key": {more: "secure_boot: {certificate: definition/certificate.pem}\n", want: "definition"},
	} {
		env := testEnv(t)
		env.Getenv = func(name string) string { return x.variables[name] }
		s, err := newSecureBoot(env, x.flags, read(x.more))
		switch {
		case x.err != "":
			if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), x.err) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || (s != nil) != (x.want != "") || s != nil && s.Digest() != digests[x.want]:
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}
