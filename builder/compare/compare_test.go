package compare

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/manifest"
)

var update = flag.Bool("update", false, "write golden files")

func lines(r Report) string {
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

func side(sections ...Section) Subject {
	return Subject{Name: "x", Sides: []Side{{"amd64", sections}}}
}

func TestDiffItems(t *testing.T) {
	item := func(name string, fields ...string) Item {
		i := Item{Name: name}
		for n := 0; n < len(fields); n += 2 {
			i.Fields = append(i.Fields, Field{Name: fields[n], Value: fields[n+1], Implied: fields[n] == "sha256"})
		}
		return i
	}
	for name, x := range map[string]struct {
		a, b []Item
		want string
	}{
		"equal":               {[]Item{item("p", "version", "1")}, []Item{item("p", "version", "1")}, "amd64: no difference\n"},
		"order doesn't count": {[]Item{item("p"), item("q")}, []Item{item("q"), item("p")}, "amd64: no difference\n"},
		"version, and what follows from it": {[]Item{item("p", "version", "1", "sha256", "aa")}, []Item{item("p", "version", "2", "sha256", "bb")},
			"amd64:\n  packages:\n    ~ p 1 → 2\n"},
		"other bytes of a version": {[]Item{item("p", "version", "1", "sha256", "aa")}, []Item{item("p", "version", "1", "sha256", "bb")},
			"amd64:\n  packages:\n    ~ p sha256 aa → bb\n"},
		"a field that is new": {[]Item{item("p")}, []Item{item("p", "use", "root")}, "amd64:\n  packages:\n    ~ p use \"\" → root\n"},
		"all": {[]Item{item("gone", "version", "1", "use", "root"), item("p")}, []Item{item("p"), item("new\x1b[2J", "version", "3")},
			"amd64:\n  packages:\n    - gone 1, use root\n    + new\ufffd[2J 3\n"},
		"same name twice": {[]Item{item("p", "version", "1"), item("p", "version", "2")}, []Item{item("p", "version", "1")}, "amd64:\n  packages:\n    - p 2\n"},
	} {
		if got := lines(Diff(side(Section{Packages, x.a}), side(Section{Packages, x.b}))); got != x.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, x.want)
		}
	}
}

func TestDiffUnknown(t *testing.T) {
	a := side(Section{Packages, nil}, Section{Settings, []Item{setting("platform", "x"), setting("plan", "1")}})
	b := side(Section{Files, nil}, Section{Settings, []Item{setting("platform", "y"), setting("lock", "2")}})
	want := "amd64:\n  settings:\n    ~ platform x → y\n  not compared, since only one side tells: packages, files\n"
	if got := lines(Diff(a, b)); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	if r := Diff(a, Subject{Name: "y", Sides: []Side{{Arch: "arm64"}}}); r.Equal() || lines(r) != "amd64: only in x\narm64: only in y\n" {
		t.Errorf("%s", lines(r))
	}
}

func TestCmdline(t *testing.T) {
	a := cmdlineItems([]string{"console=tty0", "console=ttyS0", "quiet", "splash"})
	b := cmdlineItems([]string{"quiet", "console=ttyS0", "root=/dev/x"})
	want := "amd64:\n  command line:\n    ~ console tty0 ttyS0 → ttyS0\n    + root /dev/x\n    - splash\n"
	if got := lines(Diff(side(Section{Cmdline, a}), side(Section{Cmdline, b}))); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
}

// A manifest that every field of is different, as people see it.
func TestManifestText(t *testing.T) {
	m := manifest.Manifest{
		Platform: "demo", Arch: "amd64", GitSHA: "aa", KernelVersion: "6.12.1", Variants: []string{"raw"}, AptSnapshot: "2026-11-01T00:00:00Z",
		ComposefsDigest: "c1", RootHash: "r1", Cmdline: "console=ttyS0 composefs=c1", Created: time.Unix(1_700_000_000, 0), PlanDigest: "p1",
		DefinitionSHA256: "d1", OCIDigest: "sha256:o1", Tools: map[string]string{"go": "1"},
		Artifacts: map[string]manifest.File{"raw/demo.img": {SHA256: "11", SizeBytes: 100}, "oci/blobs/sha256/aa": {SHA256: "aa", SizeBytes: 1}, "sbom.spdx.json": {SHA256: "s1", SizeBytes: 5}},
		Inputs:    []manifest.Package{{Name: "k", Version: "1", SHA256: "k1", Use: "kernel"}, {Name: "k", Version: "1", SHA256: "k1", Use: "root"}, {Name: "a", Version: "1", SHA256: "a1", Use: "root"}},
	}
	n := m
	n.GitSHA, n.KernelVersion, n.Variants, n.AptSnapshot = "bb", "6.12.2", []string{"raw", "iso"}, "2026-11-02T00:00:00Z"
	n.ComposefsDigest, n.RootHash, n.Cmdline, n.Created, n.PlanDigest = "c2", "r2", "console=ttyS0 composefs=c2 quiet", time.Unix(1_700_000_060, 0), "p2"
	n.DefinitionSHA256, n.OCIDigest, n.LockSHA256, n.Tools = "d2", "sha256:o2", "l2", map[string]string{"go": "2"}
	n.Artifacts = map[string]manifest.File{"raw/demo.img": {SHA256: "22", SizeBytes: 200}, "iso/demo.iso": {SHA256: "33", SizeBytes: 300}, "sbom.spdx.json": {SHA256: "s2", SizeBytes: 5}}
	n.Inputs = []manifest.Package{{Name: "k", Version: "2", SHA256: "k2", Use: "kernel"}, {Name: "a", Version: "1", SHA256: "a1", Use: "root"}}
	var subjects [2]Subject
	for i, x := range []manifest.Manifest{m, n} {
		var err error
		if subjects[i], err = Build("build", []Built{{Manifest: &x}}); err != nil {
			t.Fatal(err)
		}
	}
	const golden = "testdata/manifest.txt"
	got := lines(Diff(subjects[0], subjects[1]))
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || got != string(want) {
		t.Errorf("%v; got\n%s", err, got)
	}
}
