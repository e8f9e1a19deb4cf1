package publish_test

import (
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/internal/clients"
	"github.com/powernode/bootsmith/publish/localstack"
)

func client(t *testing.T, name string) *clients.Tool {
	t.Helper()
	tool, err := clients.Find(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

// TestDebiansClients does what the platform does with a raw artifact, by the
// programs that it uses: pulls it, compares its digest and verifies the bundles
// that lie beside it; and reads the signatures that are attached.
func TestDebiansClients(t *testing.T) {
	s := startStack(t, localstack.Config{})
	o := options(t, s)
	o.Cosign2 = true
	build := writeBuild(t, []string{"amd64"}, "raw")
	// The usual SBOM of these tests has a number that cosign can't read.
	writeTestFile(t, filepath.Join(build, "amd64", manifest.SPDXName), []byte(`{"spdxVersion":"SPDX-2.3","name":"minimal"}`))
	pub := find(t, publishBuild(t, build, o), "raw")
	cosign, oras := client(t, "cosign"), client(t, "oras")
	dir, roots := t.TempDir(), writeRoots(t, s)
	run := func(tool *clients.Tool, args ...string) string {
		t.Helper()
		// Nothing of the user's, and nothing of the public instance.
		env := append(roots, "HOME="+dir, "TUF_ROOT="+filepath.Join(dir, "tuf"), "HTTPS_PROXY=http://127.0.0.1:1")
		out, err := tool.Run(t.Context(), dir, env, args...)
		if err != nil {
			t.Errorf("%v", err)
		}
		return out
	}
	run(oras, "pull", "--plain-http", pub.OCIRef)
	images, err := filepath.Glob(filepath.Join(dir, "*.img"))
	if err != nil || len(images) != 1 {
		t.Fatalf("pulled the images %q, %v", images, err)
	}
	data, err := os.ReadFile(images[0])
	if err != nil || hexSum(data) != pub.SHA256 {
		t.Errorf("the pulled image has the digest %s, not %s (%v)", hexSum(data), pub.SHA256, err)
	}
	who := []string{
		"--certificate-identity-regexp", `^` + regexp.QuoteMeta(s.Identity) + `$`,
		"--certificate-oidc-issuer-regexp", `^` + regexp.QuoteMeta(s.Issuer) + `$`,
	}
	bundled := append([]string{"--trusted-root", s.TrustedRootPath, "--new-bundle-format", "--use-signed-timestamps", "--insecure-ignore-tlog"}, who...)
	run(cosign, append(append([]string{"verify-blob", "--bundle", images[0] + ".cosign-bundle"}, bundled...), images[0])...)
	run(cosign, append(append([]string{"verify-blob-attestation", "--type", "slsaprovenance1", "--bundle", images[0] + ".attestation-bundle"}, bundled...), images[0])...)
	tagged := append([]string{"verify", "--use-signed-timestamps", "--insecure-ignore-tlog"}, who...)
	run(cosign, append(tagged, pub.OCIRef)...)
	for kind, says := range map[string]string{"spdxjson": "SPDX-2.3", "cyclonedx": "CycloneDX", "slsaprovenance1": "buildDefinition", publish.PredicatePublication: "roothash"} {
		attested := append([]string{"verify-attestation", "--type", kind}, tagged[1:]...)
		var envelope struct{ Payload []byte }
		out := run(cosign, append(attested, pub.OCIRef)...)
		if err := json.Unmarshal([]byte(out), &envelope); err != nil || !strings.Contains(string(envelope.Payload), says) {
			t.Errorf("cosign verifies the attestation %.300s, %v", out, err)
		}
	}
	if out := run(oras, "discover", "--plain-http", pub.OCIRef); strings.Count(out, publish.BundleMediaType) == 0 {
		t.Errorf("oras discovers\n%s", out)
	}
	refuse := func(why string, args ...string) {
		t.Helper()
		if _, err := cosign.Run(t.Context(), dir, roots, args...); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("cosign %q: %v, want a refusal with %q", args, err, why)
		}
	}
	stranger := []string{"--certificate-identity-regexp", "^https://gitea.example.org/acme/other", who[2], who[3]}
	refuse("no matching CertificateIdentity", append(append(append([]string{"verify-blob", "--bundle", images[0] + ".cosign-bundle"}, bundled...), stranger...), images[0])...)
	refuse("none of the expected identities", append(append(tagged, stranger...), pub.OCIRef)...)
	refuse("none of the expected identities", append(append(append([]string{"verify-attestation", "--type", "spdxjson"}, tagged[1:]...), stranger...), pub.OCIRef)...)
	writeTestFile(t, images[0], append(data, 0))
	refuse("invalid signature", append(append([]string{"verify-blob", "--bundle", images[0] + ".cosign-bundle"}, bundled...), images[0])...)
}

// writeRoots writes the parts of the trust root as cosign 2 takes them, and
// returns the environment that names them.
func writeRoots(t *testing.T, s *localstack.Stack) []string {
	t.Helper()
	raw, err := os.ReadFile(s.TrustedRootPath)
	if err != nil {
		t.Fatal(err)
	}
	type authority struct {
		CertChain struct {
			Certificates []struct{ RawBytes []byte }
		}
	}
	var root struct {
		CertificateAuthorities, TimestampAuthorities []authority
		Ctlogs                                       []struct{ PublicKey struct{ RawBytes []byte } }
	}
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	chain := func(a authority) (out []byte) {
		for _, c := range a.CertChain.Certificates {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.RawBytes})...)
		}
		return out
	}
	var env []string
	for name, data := range map[string][]byte{
		"SIGSTORE_ROOT_FILE":              chain(root.CertificateAuthorities[0]),
		"SIGSTORE_TSA_CERTIFICATE_FILE":   chain(root.TimestampAuthorities[0]),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: root.Ctlogs[0].PublicKey.RawBytes}),
	} {
		writeTestFile(t, filepath.Join(dir, name), data)
		env = append(env, name+"="+filepath.Join(dir, name))
	}
	return env
}

func TestSignaturesForCosign2(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64"}, "raw", "iso", "oci")
	o := options(t, s)
	o.Cosign2 = true
	pubs := publishBuild(t, dir, o)
	again := &spy{}
	o.Access.Transport = again
	o.Signer = newSigner(t, s, nil)
	publishBuild(t, dir, o)
	if len(again.puts) != 0 {
		t.Errorf("the second publish sent %q", again.puts)
	}
	iso := find(t, pubs, "iso")
	name := pubs.Repository + ":" + strings.Replace(iso.OCIDigest, ":", "-", 1)
	tags := []string{name + ".sig", name + ".att"}
	before := resolveAll(t, tags)
	// Somebody else's signature is added, not put in the place of ours.
	o.Signer = newSigner(t, s, tokenFor(s, localstack.Workflow{Ref: "refs/heads/other"}))
	publishBuild(t, dir, o)
	after := resolveAll(t, tags)
	if after[0] == before[0] || after[1] == before[1] {
		t.Errorf("the tags name %q after %q", after, before)
	}
	o.Signer = newSigner(t, s, nil)
	pubs = publishBuild(t, dir, o)
	if last := resolveAll(t, tags); !slices.Equal(last, after) {
		t.Errorf("the tags name %q after %q", last, after)
	}
	for _, p := range pubs.Publications {
		if _, err := publish.Delete(t.Context(), publish.Access{}, p.OCIRef, p.Tag); err != nil {
			t.Fatal(err)
		}
	}
	for _, tag := range tags {
		if _, err := publish.Resolve(t.Context(), publish.Access{}, tag); err == nil {
			t.Errorf("%s outlives what it is about", tag)
		}
	}
}

// resolveAll returns the digests that tags name.
func resolveAll(t *testing.T, tags []string) (digests []string) {
	t.Helper()
	for _, tag := range tags {
		d, err := publish.Resolve(t.Context(), publish.Access{}, tag)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	return digests
}

// TestDebiansCosignSigns has cosign sign with the services of the stack, and
// verifies that with ours.
func TestDebiansCosignSigns(t *testing.T) {
	s := startStack(t, localstack.Config{})
	token, err := s.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, bundle := filepath.Join(dir, "file"), filepath.Join(dir, "bundle")
	writeTestFile(t, file, []byte("a file"))
	env := append(writeRoots(t, s), "HOME="+dir, "TUF_ROOT="+filepath.Join(dir, "tuf"), "HTTPS_PROXY=http://127.0.0.1:1")
	_, err = client(t, "cosign").Run(t.Context(), dir, env, "sign-blob", "--yes", "--fulcio-url", s.URL+"/fulcio", "--tlog-upload=false",
		"--timestamp-server-url", s.URL+"/tsa/api/v1/timestamp", "--identity-token", token, "--new-bundle-format", "--bundle", bundle, file)
	if err != nil {
		t.Fatal(err)
	}
	p := policy(s)
	if err := publish.VerifyFile(t.Context(), file, bundle, p); err != nil {
		t.Error(err)
	}
	p.IdentityRegexp = "https://gitea\\.example\\.org/acme/other"
	refused(t, publish.VerifyFile(t.Context(), file, bundle, p), publish.SignatureFailed)
}

// TestSkopeo copies the image out of a build's index, which it takes for an image
// of two platforms, and by its tag.
func TestSkopeo(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pubs := publishBuild(t, writeBuild(t, []string{"amd64", "arm64"}, "oci", "raw"), options(t, s))
	image := find(t, pubs, "oci")
	for _, from := range []string{pubs.Repository + ":" + pubs.Index.Tag, pubs.Repository + ":" + image.Tag, image.OCIRef} {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "--override-os", "linux", "--override-arch", "amd64",
			"copy", "--src-tls-verify=false", "--preserve-digests", "docker://"+from, "oci:"+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("skopeo copy %s: %v: %s", from, err, out)
			continue
		}
		index, err := os.ReadFile(filepath.Join(dir, "index.json"))
		if err != nil || !strings.Contains(string(index), image.OCIDigest) {
			t.Errorf("%s was copied as %s, %v", from, index, err)
		}
	}
}
