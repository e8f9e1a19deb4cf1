//go:build cosign3

package publish_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// TestCosign3 has cosign 3 verify what is attached as referrers, log entries
// included, with the trust root and nothing else: without the network, and
// without the tags for cosign 2. BOOTSMITH_COSIGN3 is the program.
func TestCosign3(t *testing.T) {
	program := os.Getenv("BOOTSMITH_COSIGN3")
	if program == "" {
		t.Fatal("BOOTSMITH_COSIGN3 doesn't name the program: use `make cosign3`")
	}
	s := startStack(t, localstack.Config{})
	build := writeBuild(t, []string{"amd64"}, "raw", "oci")
	writeTestFile(t, filepath.Join(build, "amd64", manifest.SPDXName), []byte(`{"spdxVersion":"SPDX-2.3","name":"minimal"}`))
	pubs := publishBuild(t, build, options(t, s))
	dir := t.TempDir()
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "TUF_ROOT=" + filepath.Join(dir, "tuf"), "HTTPS_PROXY=http://127.0.0.1:1"}
		var out, msg bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &msg
		err := cmd.Run()
		return out.String() + msg.String(), err
	}
	who := func(identity string) []string {
		return []string{
			"--trusted-root", s.TrustedRootPath,
			"--certificate-identity-regexp", `^` + identity + `$`, "--certificate-oidc-issuer-regexp", `^` + regexp.QuoteMeta(s.Issuer) + `$`,
		}
	}
	raw := find(t, pubs, "raw")
	if err := publish.PullLayers(t.Context(), publish.Access{}, raw.OCIRef, layersOf(t, raw), dir, 0); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "debian-13-server-amd64.img")
	beside := []string{"--use-signed-timestamps", "--insecure-ignore-tlog"}
	for _, c := range [][]string{
		{"verify", raw.OCIRef},
		{"verify", find(t, pubs, "oci").OCIRef},
		{"verify", pubs.Repository + "@" + pubs.Index.Digest},
		{"verify-attestation", "--type", "spdxjson", raw.OCIRef},
		{"verify-attestation", "--type", "cyclonedx", raw.OCIRef},
		{"verify-attestation", "--type", "slsaprovenance1", raw.OCIRef},
		{"verify-attestation", "--type", publish.PredicatePublication, raw.OCIRef},
		append([]string{"verify-blob", "--bundle", image + ".cosign-bundle", image}, beside...),
		append([]string{"verify-blob-attestation", "--type", "slsaprovenance1", "--bundle", image + ".attestation-bundle", image}, beside...),
	} {
		if out, err := run(append(c, who(regexp.QuoteMeta(s.Identity))...)...); err != nil {
			t.Errorf("cosign %q: %v: %s", c, err, out)
		} else if c[0] == "verify" && !strings.Contains(out, "transparency log was verified offline") {
			t.Errorf("cosign %q says %s", c, out)
		}
		if out, err := run(append(c, who("https://gitea.example.org/acme/other")...)...); err == nil {
			t.Errorf("cosign %q takes a stranger's: %s", c, out)
		}
	}
}

func layersOf(t *testing.T, p publish.Publication) []publish.Layer {
	t.Helper()
	look, err := publish.LookAt(t.Context(), publish.Access{}, p.OCIRef)
	if err != nil {
		t.Fatal(err)
	}
	return look.Layers
}
