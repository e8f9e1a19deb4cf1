package publish_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

const passphrase = "correct horse"

// cosignKeys makes a key pair by Debian's cosign, the private key encrypted.
func cosignKeys(t *testing.T) (private, public string) {
	t.Helper()
	dir := t.TempDir()
	env := []string{"HOME=" + dir, "COSIGN_PASSWORD=" + passphrase}
	if _, err := client(t, "cosign").Run(t.Context(), dir, env, "generate-key-pair"); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "cosign.key"), filepath.Join(dir, "cosign.pub")
}

func readKey(t *testing.T, path string) *publish.Key {
	t.Helper()
	key, err := publish.ReadKey(path, func() ([]byte, error) { return []byte(passphrase), nil })
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keySigner(t *testing.T, o publish.SignerOptions) *publish.Signer {
	t.Helper()
	signer, err := publish.NewSigner(o)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// TestSignWithKey signs with a key instead of an identity, without any service,
// and lets cosign verify it with the public key.
func TestSignWithKey(t *testing.T) {
	s := startStack(t, localstack.Config{})
	private, public := cosignKeys(t)
	key := readKey(t, private)
	o := publish.Options{Repository: s.Registry + "/acme/keyed", Signer: keySigner(t, publish.SignerOptions{Key: key}), Cosign2: true}
	build := writeBuild(t, []string{"amd64"}, "raw", "oci")
	pubs := publishBuild(t, build, o)
	raw := find(t, pubs, "raw")
	if raw.CosignIdentity != key.Name() || raw.CosignIssuer != "" {
		t.Errorf("published by %q of %q, want the key %q", raw.CosignIdentity, raw.CosignIssuer, key.Name())
	}
	p := publish.Policy{PublicKeyPath: public, RequirePredicates: policy(s).RequirePredicates}
	for _, pub := range pubs.Publications {
		r, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, p)
		if err != nil {
			t.Fatal(err)
		}
		if r.Identity != key.Name() || r.Issuer != "" || len(r.Attestations) != 5 {
			t.Errorf("%s: signed by %q of %q, %d attestations", pub.Family, r.Identity, r.Issuer, len(r.Attestations))
		}
	}
	again := &spy{}
	o.Access.Transport = again
	publishBuild(t, build, o)
	if len(again.puts) != 0 {
		t.Errorf("the second publish sent %q", again.puts)
	}
	cosignVerifiesKey(t, raw, public, s.TrustedRootPath)
}

// cosignVerifiesKey gives cosign a trust root: without one, it asks the public
// instance for it, though it needs none.
func cosignVerifiesKey(t *testing.T, raw publish.Publication, public, trustedRoot string) {
	t.Helper()
	cosign, dir := client(t, "cosign"), t.TempDir()
	env := []string{"HOME=" + dir, "TUF_ROOT=" + filepath.Join(dir, "tuf"), "HTTPS_PROXY=http://127.0.0.1:1"}
	if _, err := client(t, "oras").Run(t.Context(), dir, env, "pull", "--plain-http", raw.OCIRef); err != nil {
		t.Fatal(err)
	}
	_, other := cosignKeys(t)
	image := filepath.Join(dir, "debian-13-server-amd64.img")
	for _, args := range [][]string{
		{"verify", "--key", "KEY", "--insecure-ignore-tlog", raw.OCIRef},
		{"verify-blob", "--key", "KEY", "--bundle", image + ".cosign-bundle", "--new-bundle-format", "--insecure-ignore-tlog", "--trusted-root", trustedRoot, image},
		{"verify-blob-attestation", "--key", "KEY", "--type", "slsaprovenance1", "--bundle", image + ".attestation-bundle", "--new-bundle-format", "--insecure-ignore-tlog", "--trusted-root", trustedRoot, image},
	} {
		for _, key := range []string{public, other} {
			args[2] = key
			if _, err := cosign.Run(t.Context(), dir, env, args...); (err == nil) != (key == public) {
				t.Errorf("cosign %q: %v", args, err)
			}
		}
	}
}

// TestKeyAndIdentityAreApart lets neither stand in for the other.
func TestKeyAndIdentityAreApart(t *testing.T) {
	s := startStack(t, localstack.Config{})
	private, public := cosignKeys(t)
	_, other := cosignKeys(t)
	build := writeBuild(t, []string{"amd64"}, "iso")
	keyless := options(t, s)
	byIdentity := find(t, publishBuild(t, build, keyless), "iso").OCIRef
	keyed := keyless
	keyed.Repository += "/keyed"
	keyed.Signer = keySigner(t, publish.SignerOptions{Key: readKey(t, private), SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath})
	byKey := find(t, publishBuild(t, build, keyed), "iso").OCIRef

	key := publish.Policy{PublicKeyPath: public}
	witnessed := publish.Policy{PublicKeyPath: public, TrustedRootPath: s.TrustedRootPath}
	for _, p := range []publish.Policy{key, witnessed} {
		r, err := publish.Verify(t.Context(), publish.Access{}, byKey, p)
		if err != nil {
			t.Fatal(err)
		}
		if r.SignedAt.IsZero() == (p.TrustedRootPath != "") {
			t.Errorf("signed at %v", r.SignedAt)
		}
	}
	for name, c := range map[string]struct {
		ref    string
		policy publish.Policy
		want   string
	}{
		"a key for an identity":  {byKey, policy(s), "public key"},
		"an identity for a key":  {byIdentity, key, "expected key signature, not certificate"},
		"an identity, witnessed": {byIdentity, witnessed, "expected key signature, not certificate"},
		"another key":            {byKey, publish.Policy{PublicKeyPath: other}, "could not verify envelope"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := publish.Verify(t.Context(), publish.Access{}, c.ref, c.policy)
			refused(t, err, publish.SignatureFailed)
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	// What is signed by a key alone has no witnesses to show.
	keyed.Repository, keyed.Signer = keyless.Repository+"/alone", keySigner(t, publish.SignerOptions{Key: readKey(t, private)})
	alone := find(t, publishBuild(t, build, keyed), "iso").OCIRef
	_, err := publish.Verify(t.Context(), publish.Access{}, alone, witnessed)
	refused(t, err, publish.SignatureFailed)

	both := policy(s)
	both.PublicKeyPath = public
	for _, p := range []publish.Policy{both, {PublicKeyPath: private}, {PublicKeyPath: "none"}} {
		if _, err := publish.Verify(t.Context(), publish.Access{}, byKey, p); fault.ClassOf(err) != fault.Input {
			t.Errorf("error %v, want one of class Input", err)
		}
	}
}

func TestReadKey(t *testing.T) {
	dir := t.TempDir()
	write := func(name, kind string, der []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		writeTestFile(t, path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		return path
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(p256)
	sec1Path := write("sec1", "EC PRIVATE KEY", sec1, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(p256)
	pkcs8Path := write("pkcs8", "PRIVATE KEY", pkcs8, err)
	curve, err := x509.MarshalPKCS8PrivateKey(p384)
	curvePath := write("p384", "PRIVATE KEY", curve, err)
	encrypted, _ := cosignKeys(t)
	text, err := os.ReadFile(encrypted)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaPath := write("rsa", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil)
	cut := write("cut", "PRIVATE KEY", pkcs8[:40], nil)

	none := func() ([]byte, error) { return nil, errors.New("no passphrase") }
	wrong := func() ([]byte, error) { return []byte("wrong"), nil }
	if a, b := readKey(t, sec1Path), readKey(t, pkcs8Path); a.Name() != b.Name() || !strings.HasPrefix(a.Name(), "key:sha256:") {
		t.Errorf("one key has the names %s and %s", a.Name(), b.Name())
	}
	for name, c := range map[string]struct {
		path string
		pass func() ([]byte, error)
		want string
	}{
		"missing":          {filepath.Join(dir, "none"), none, "no such file"},
		"no passphrase":    {encrypted, none, "passphrase is missing or wrong"},
		"wrong passphrase": {encrypted, wrong, "passphrase is missing or wrong"},
		"other curve":      {curvePath, none, "P-256"},
		"RSA":              {rsaPath, none, "P-256"},
		"cut off":          {cut, none, "not a private key"},
	} {
		_, err := publish.ReadKey(c.path, c.pass)
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one of class Input with %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), string(text[60:90])) {
			t.Errorf("%s: error %v repeats the key", name, err)
		}
	}
}
