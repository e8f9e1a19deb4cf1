package e2e_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/powernode/bootsmith/"

// golist runs `go list` and returns its words.
func golist(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %q: %v", args, err)
	}
	return strings.Fields(string(out))
}

// isBelow tells whether an import path is one of the paths or below it.
func isBelow(path string, tops ...string) bool {
	return slices.ContainsFunc(tops, func(top string) bool { return path == top || strings.HasPrefix(path, top+"/") })
}

func TestArchImportsTheStandardLibraryOnly(t *testing.T) {
	got := golist(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+"arch")
	if !slices.Equal(got, []string{module + "arch"}) {
		t.Errorf("arch depends on %q", got)
	}
}

// TestOneImporterEach keeps the large libraries behind one package each, and
// cmd from being imported.
func TestOneImporterEach(t *testing.T) {
	importers := map[string][]string{}
	lines := golist(t, "-f", `{{.ImportPath}}{{range .Imports}},{{.}}{{end}}`, module+"...")
	for _, line := range lines {
		path, imports, _ := strings.Cut(line, ",")
		for imported := range strings.SplitSeq(imports, ",") {
			for name, top := range map[string]string{
				"syft": "github.com/anchore/syft", "cosign": "github.com/sigstore/cosign", "oras": "oras.land/oras-go",
			} {
				if isBelow(imported, top) && !slices.Contains(importers[name], path) {
					importers[name] = append(importers[name], path)
				}
			}
			if isBelow(imported, module+"cmd") && !isBelow(path, module+"cmd") {
				t.Errorf("%s imports %s", path, imported)
			}
		}
	}
	for name, want := range map[string]string{"syft": "builder/sbom", "cosign": "publish", "oras": "publish"} {
		if got := importers[name]; !slices.Equal(got, []string{module + want}) {
			t.Errorf("%s is imported by %q; only %s may", name, got, want)
		}
	}
}

// TestDependencyCeilings lists what must never be linked into a package or
// program. More ceilings are in the packages' own tests.
func TestDependencyCeilings(t *testing.T) {
	registries := []string{
		"github.com/google/go-containerregistry/pkg/v1/remote", "github.com/google/go-containerregistry/pkg/authn",
		"oras.land/oras-go", "github.com/docker", "github.com/containerd",
	}
	signing := []string{"github.com/sigstore", "github.com/anchore"}
	for path, banned := range map[string][]string{
		"families":        slices.Concat(registries, signing, []string{module + "publish", module + "callback"}),
		"builder":         {registries[0], "oras.land/oras-go", "github.com/sigstore", module + "publish", module + "callback"},
		"callback/ingest": slices.Concat(registries, signing),
		"cmd/bootsmith":   {module + "publish/localstack", "github.com/sigstore/fulcio", module + "cmd/bootsmith-lab"},
	} {
		for _, dep := range golist(t, "-deps", module+path) {
			if isBelow(dep, banned...) {
				t.Errorf("%s depends on %s", path, dep)
			}
		}
	}
}
