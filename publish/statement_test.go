package publish

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
)

func TestPatterns(t *testing.T) {
	for _, bad := range []string{
		"", " ", ".*", "^.*$", ".+", "(.*)", "(?s).*", `[\s\S]*`, "[^x].*|x", ".{0,}", `\S+`, `https?://.*`, ".*@.*", "a|.*", "(", "a)|(b", "[", strings.Repeat("a", 5000),
	} {
		if _, err := checkPattern("identity", bad); fault.ClassOf(err) != fault.Input {
			t.Errorf("pattern %.40q: error %v, want one of class Input", bad, err)
		}
	}
	for pattern, warned := range map[string]bool{
		`https://gitea\.example\.org/acme/images/.*`: false,
		`https://gitea.example\.org/acme/.*`:         true,
		`https://[a.]example\.org/x`:                 false,
		`https://[]a.]example\.org/x`:                false,
		`https://[^]a.]example\.org/x`:               false,
		`\Qhttps://gitea.example.org\E/x`:            false,
		`\Qhttps://gitea.example.org\E.x`:            true,
		`dev@example\.org`:                           false,
		`dev@example.org`:                            true,
		`https://a\.example\.org/.{3}`:               false,
	} {
		warning, err := checkPattern("identity", pattern)
		if err != nil || (warning != "") != warned {
			t.Errorf("pattern %q: warning %q, error %v", pattern, warning, err)
		}
	}
	w, err := Policy{IdentityRegexp: "dev@example.org", IssuerRegexp: "https://example.org/x"}.Check()
	if err != nil || len(w) != 2 {
		t.Errorf("warnings %q, error %v", w, err)
	}
}

func TestSameStatement(t *testing.T) {
	art := func(run string) []byte {
		p := Provenance{RunDetails: RunDetails{Builder: ProvenanceBuilder{ID: "x"}}}
		if run != "" {
			p.RunDetails.Metadata = &ProvenanceMetadata{InvocationID: run}
		}
		s, err := newStatement("n", "00", PredicateProvenance, p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if !sameStatement(art("run 1"), art("run 2")) || !sameStatement(art(""), art("run 2")) {
		t.Error("the run makes a difference")
	}
	other, err := newStatement("n", "01", PredicateProvenance, Provenance{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range [][]byte{other, []byte("x"), nil, []byte(`{"predicateType":"` + PredicateSPDX + `"}`)} {
		if sameStatement(s, art("run 1")) || sameStatement(art("run 1"), s) {
			t.Errorf("%.30s is the same as another statement", s)
		}
	}
	a, b := []byte(`{"predicateType":"a","predicate":1}`), []byte(`{"predicate":1,"predicateType":"a"}`)
	if sameStatement(a, b) {
		t.Error("statements of other types are compared by their bytes")
	}
}

func TestRunFromEnv(t *testing.T) {
	env := map[string]string{"GITHUB_SERVER_URL": "https://gitea.example.org", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"}
	get := func(name string) string { return env[name] }
	if r := RunFromEnv(get); r.InvocationID != "https://gitea.example.org/a/b/actions/runs/7" {
		t.Errorf("run %+v", r)
	}
	env["GITHUB_RUN_ATTEMPT"] = "2"
	if r := RunFromEnv(get); r.InvocationID != "https://gitea.example.org/a/b/actions/runs/7/attempts/2" {
		t.Errorf("run %+v", r)
	}
	delete(env, "GITHUB_RUN_ID")
	if r := RunFromEnv(get); r != (Run{}) {
		t.Errorf("run %+v", r)
	}
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte(`{"_type":"x","subject":[{"name":"n","digest":{"sha256":"00"}}],"predicateType":"t","predicate":{"runDetails":{"metadata":{}}}}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}]}`))
	f.Add([]byte(`{"schema_version":1,"publications":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := parseStatement(raw); err == nil && s.PredicateType == "" {
			t.Error("a statement without a type")
		}
		sameStatement(raw, append(bytes.Clone(raw), ' '))
		if d, err := parseLayoutIndex(raw); err == nil && !filepath.IsLocal(blobPath(".", d.Digest)) {
			t.Errorf("digest %q leads out of the layout", d.Digest)
		}
		if p, err := parsePublications(raw); err == nil && p.SchemaVersion != publicationVersion {
			t.Error("another version")
		}
	})
}

func FuzzPatterns(f *testing.F) {
	f.Add(`https://gitea\.example\.org/[^]a.]\Q.\E.*`)
	f.Fuzz(func(t *testing.T, pattern string) {
		if _, err := checkPattern("identity", pattern); err != nil && fault.ClassOf(err) != fault.Input {
			t.Errorf("error %v", err)
		}
	})
}
