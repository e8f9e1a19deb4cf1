package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/families/inspect"
	"github.com/powernode/bootsmith/publish"
)

func TestInspectFolder(t *testing.T) {
	dir := writeBuilt(t)
	code, out, stderr := run(t, testEnv(t), "inspect", dir)
	if code != ExitOK {
		t.Fatal(stderr)
	}
	for _, want := range []string{"\n  amd64  build for amd64\n", "\n      minimal-arm64.qcow2  qcow2 image, ", "\n    sbom.spdx.json  SBOM (SPDX-2.3), ", " bytes\n      about     minimal\n      packages  2\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	code, out, stderr = run(t, testEnv(t), "inspect", "--json", filepath.Join(dir, "amd64/kernel-initrd/root.img"))
	var report struct{ Facts map[string]string }
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != ExitOK || len(report.Facts["root digest"]) != 64 {
		t.Errorf("%d, %v: %s%s", code, err, out, stderr)
	}
	damaged := filepath.Join(dir, "amd64/kernel-initrd/root.img")
	if err := os.Truncate(damaged, 20000); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := run(t, testEnv(t), "inspect", damaged); code != ExitBuild || !strings.Contains(stderr, "root.img") {
		t.Errorf("damage: exit code %d, %s", code, stderr)
	}
	if code, _, _ := run(t, testEnv(t), "inspect", "./nothing"); code != ExitInput {
		t.Errorf("a missing file: exit code %d", code)
	}
}

func TestInspectRegistry(t *testing.T) {
	s, pubs := publishBuilt(t, writeBuilt(t))
	var raw, image publish.Publication
	for _, p := range pubs.Publications {
		if p.Arch == "amd64" && p.Family == "raw" {
			raw = p
		}
		if p.Arch == "amd64" && p.Family == "oci" {
			image = p
		}
	}
	expect := func(args []string, code int, wants ...string) {
		t.Helper()
		got, out, stderr := run(t, testEnv(t), args...)
		if got != code {
			t.Errorf("%q: exit code %d: %s", args, got, stderr)
		}
		for _, want := range wants {
			if !strings.Contains(out+stderr, want) {
				t.Errorf("%q: %q is missing in\n%s%s", args, want, out, stderr)
			}
		}
	}
	expect([]string{"inspect", raw.OCIRef}, ExitOK, "artifact in a registry", notVerified, "claims to be signed by  "+s.Identity, "minimal-amd64.img  layer")
	expect(append([]string{"inspect", raw.OCIRef}, policyFlags(s)...), ExitOK, "verified\n", "signed by", "verified SBOM (SPDX-2.3)", "packages  2")
	expect(append([]string{"inspect", raw.OCIRef, "--identity-regexp", "stranger"}, policyFlags(s)[4:]...), ExitInput, "trust root")
	expect(append(append([]string{"inspect", raw.OCIRef}, policyFlags(s)...), "--identity-regexp", "stranger"), ExitRemote, "none of")
	index := pubs.Repository + ":" + pubs.Index.Tag
	expect([]string{"inspect", index}, ExitOK, "index in a registry", "manifest of qcow2 for arm64", "claimed content  SBOM (SPDX-2.3)")
	expect(append([]string{"inspect", "--format", "tree", index}, policyFlags(s)...), ExitOK,
		"\n├─ "+raw.OCIDigest+"  manifest of raw for amd64, signature verified, signed by "+s.Identity+"\n", "\n│  ├─ minimal-amd64.img  layer ", "verified SBOM (SPDX-2.3), ", ", packages 2\n")
	expect(append(append([]string{"inspect", index}, policyFlags(s)...), "--identity-regexp", "stranger"), ExitRemote, "none of")
	expect([]string{"inspect", "--format", "yaml", index}, ExitInput, "text, tree or json")
	code, out, stderr := run(t, testEnv(t), append([]string{"inspect", "--format", "json", index}, policyFlags(s)...)...)
	var report struct {
		Parts []struct{ Facts map[string]string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != ExitOK || len(report.Parts) < 12 || report.Parts[11].Facts["signed by"] != s.Identity {
		t.Errorf("exit code %d, %v: %s%s", code, err, out, stderr)
	}
	expect([]string{"inspect", pubs.Repository + ":never"}, ExitRemote, "fetching")
	expect([]string{"inspect", "--lint", "--fatal-warnings", image.OCIRef}, ExitOK, "14 rules passed", "warning: the signature of")
	expect(append([]string{"inspect", "--lint", image.OCIRef}, policyFlags(s)...), ExitOK, "14 rules passed")
	expect([]string{"inspect", "--lint", raw.OCIRef}, ExitInput, "it is none")
}

func TestLint(t *testing.T) {
	dir := writeBuilt(t)
	code, out, stderr := run(t, testEnv(t), "inspect", "--lint", "--fatal-warnings", dir)
	if code != ExitOK || strings.Count(out, "14 rules passed, 0 warnings, 0 fatal, 0 skipped") != 2 {
		t.Errorf("exit code %d: %s%s", code, out, stderr)
	}
	oci := filepath.Join(dir, "arm64/oci")
	code, out, _ = run(t, testEnv(t), "inspect", "--lint", "--json", "--skip", "var-run,kernel", oci)
	if code != ExitOK || strings.Count(out, `"skipped":true`) != 2 || strings.Count(out, "\n") != 14 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, _, stderr := run(t, testEnv(t), "inspect", "--lint", "--skip", "nothing", oci); code != ExitInput || !strings.Contains(stderr, "known are") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, stderr := run(t, testEnv(t), "inspect", "--lint", filepath.Join(dir, "arm64/raw")); code != ExitInput || !strings.Contains(stderr, "name a folder of the family oci") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	code, out, _ = run(t, testEnv(t), "inspect", "--list")
	if code != ExitOK || strings.Count(out, "\n") != len(bootc.Rules()) {
		t.Errorf("exit code %d: %s", code, out)
	}
	code, out, _ = run(t, testEnv(t), "inspect", "--list", "--json")
	if code != ExitOK || !strings.Contains(out, `"rule":"var-run"`) {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, _, _ := run(t, testEnv(t), "inspect"); code != ExitInput {
		t.Errorf("nothing to inspect: exit code %d", code)
	}
}

// TestPrintable keeps what comes from outside from steering the terminal.
func TestPrintable(t *testing.T) {
	var out strings.Builder
	r := inspect.Report{Name: "evil\x1b[2J", Kind: "data", Size: 1 << 40, Facts: inspect.Facts{{Name: "a\n", Value: "b\u009bc"}}}
	if err := writeReport(&out, r, ""); err != nil || strings.ContainsAny(out.String(), "\x1b\u009b") || !strings.Contains(out.String(), "1.0 TiB") {
		t.Errorf("%q, %v", out.String(), err)
	}
}
