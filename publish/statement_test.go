package publish

import (
	"bytes"
	"path/filepath"
	"regexp"
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
	for pattern, want := range map[string]string{
		`https://gitea\.example\.org/acme/images/.*`:     "",
		`https://gitea.example\.org/acme/.*`:             "any character",
		`https://[a.]example\.org/x`:                     "",
		`https://[]a.]example\.org/x`:                    "",
		`https://[^]a.]example\.org/x`:                   "",
		`\Qhttps://gitea.example.org\E/x`:                "",
		`\Qhttps://gitea.example.org\E.x`:                "any character",
		`dev@example\.org`:                               "",
		`dev@example.org`:                                "any character",
		`https://a\.example\.org/.{3}`:                   "",
		`(https://a|https://b)\.example\.org/x`:          "",
		`.*/acme/images/.*`:                              "other hosts",
		`.*@example\.org`:                                "other hosts",
		`https://.*\.example\.org/acme`:                  "other hosts",
		`https://[^/]+\.example\.org/acme`:               "",
		`(?i)HTTPS://[a-z.]+/acme/.*`:                    "other hosts",
		`^(?m:https://stranger\.invalid/$\n)x`:           "other hosts",
		`^https://stranger\.invalid$/acme`:               "",
		`a|\bhttps\b://stranger\.invalid/acme/b`:         "other hosts",
		`https://gitea\.example\.org/.*|.*@refs/heads/x`: "other hosts",
	} {
		warnings, err := checkPattern("identity", pattern)
		if err != nil || (want == "") != (len(warnings) == 0) || !strings.Contains(strings.Join(warnings, " "), want) {
			t.Errorf("pattern %q: warnings %q, error %v", pattern, warnings, err)
		}
	}
	w, err := Policy{IdentityRegexp: "dev@example.org", IssuerRegexp: "https://example.org/x"}.checkPatterns()
	if err != nil || len(w) != 2 {
		t.Errorf("warnings %q, error %v", w, err)
	}
}

func TestSameStatement(t *testing.T) {
	art := func(run string) []byte {
		p := Provenance{RunDetails: RunDetails{Builder: ProvenanceBuilder{ID: "x"}}}
		if run != "" {
			p.RunDetails.Metadata = &ProvenanceMetadata{InvocationID: run}
			p.BuildDefinition.InternalParameters.CI = &CIRun{RunID: run}
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

func FuzzParsers(f *testing.F) {
	f.Add([]byte(`{"_type":"x","subject":[{"name":"n","digest":{"sha256":"00"}}],"predicateType":"t","predicate":{"runDetails":{"metadata":{}}}}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}]}`))
	f.Add([]byte(`{"schema_version":1,"publications":[{}]}`))
	f.Add([]byte(`{"schema_version":1,"repository":"r","builds":{"amd64":"00"}}`))
	f.Add([]byte(`eyJleHAiOjF9`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := parseStatement(raw); err == nil && s.PredicateType == "" {
			t.Error("a statement without a type")
		}
		sameStatement(raw, append(bytes.Clone(raw), ' '))
		if d, err := parseLayoutIndex(raw); err == nil && !filepath.IsLocal(blobPath(".", d.Digest)) {
			t.Errorf("digest %q leads out of the layout", d.Digest)
		}
		if a, err := parseAttempt(raw); err == nil && len(a.Arches()) == 0 {
			t.Error("an attempt of no build")
		}
		tokenExpiry(string(raw))
		if p, err := parsePublications(raw); err == nil && p.SchemaVersion != publicationVersion {
			t.Error("another version")
		}
	})
}

func FuzzPatterns(f *testing.F) {
	f.Add(`https://gitea\.example\.org/[^]a.]\Q.\E.*`, "acme")
	f.Add(`https://[^/]+/(?i:ACME)\b.?`, "acme/")
	f.Add(`(?m)^https:.*$`, "x\ny")
	f.Fuzz(func(t *testing.T, pattern, rest string) {
		if _, err := checkPattern("identity", pattern); err != nil && fault.ClassOf(err) != fault.Input {
			t.Errorf("error %v", err)
		}
		whole, err := regexp.Compile(anchored(pattern))
		if err == nil && whole.MatchString(strangersHost+rest) && !mayBeginWith(pattern, strangersHost) {
			t.Errorf("the pattern %q matches %q, but is said not to match anything that begins so", pattern, strangersHost+rest)
		}
	})
}
