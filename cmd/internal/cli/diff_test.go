package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/compare"
	"github.com/powernode/bootsmith/builder/manifest"
)

// writeOther makes another build like writeBuilt's for amd64: with one file
// changed, one added and one gone.
func writeOther(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeBuiltWith(t, filepath.Join(dir, "amd64"), arch.All()[0], map[string]string{
		"sbin/init":  "#!another program" + strings.Repeat("\n", 5000),
		"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n",
	})
	return dir
}

// diffJSON returns the report of a diff.
func diffJSON(t *testing.T, args ...string) compare.Report {
	t.Helper()
	code, out, log := run(t, testEnv(t), append([]string{"diff", "--json"}, args...)...)
	var r compare.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("%d %v\n%s%s", code, err, out, log)
	}
	return r
}

// section returns the changes of a section, as lines.
func section(r compare.Report, a, name string) []string {
	var lines []string
	for _, side := range r.Archs {
		for _, s := range side.Sections {
			if side.Arch == a && s.Name == name {
				for _, c := range s.Changes {
					lines = append(lines, c.String())
				}
			}
		}
	}
	return lines
}

// wantFiles checks what is said of the roots that writeBuilt and writeOther make.
func wantFiles(t *testing.T, r compare.Report) {
	t.Helper()
	files := section(r, "amd64", compare.Files)
	for _, want := range []string{"- /etc/hostname type file, mode 0644, owner 0:0, size 8, content ", "+ /etc/group type file,", "+ /etc/passwd type file,", "~ /sbin/init size 5019 → 5017, content "} {
		if !slices.ContainsFunc(files, func(l string) bool { return strings.HasPrefix(l, want) }) {
			t.Errorf("the files lack %q:\n%s", want, strings.Join(files, "\n"))
		}
	}
	if len(files) != 4 {
		t.Errorf("%d changes of files:\n%s", len(files), strings.Join(files, "\n"))
	}
	if got := section(r, "amd64", compare.Accounts); len(got) != 2 || got[1] != "+ user root uid 0, gid 0, home /root, shell /bin/sh" {
		t.Errorf("accounts: %q", got)
	}
}

func TestDiffBuilds(t *testing.T) {
	one, two := writeBuilt(t), writeOther(t)
	if r := diffJSON(t, one, one); !r.Equal() || len(r.Archs) != 2 {
		t.Errorf("a build and itself: %+v", r)
	}
	r := diffJSON(t, one, two)
	wantFiles(t, r)
	if r.Archs[1].Only != "a" {
		t.Errorf("arm64: %+v", r.Archs[1])
	}
	if got := section(r, "amd64", compare.Artifacts); len(got) < len(builtFamilies()) || !strings.HasPrefix(got[len(got)-1], "~ raw/minimal-amd64.img sha256 ") {
		t.Errorf("artifacts:\n%s", strings.Join(got, "\n"))
	}
	if r := diffJSON(t, "--files=false", one, two); section(r, "amd64", compare.Files) != nil {
		t.Errorf("without files: %+v", r)
	}
	// Whatever artifact there is tells the root's files.
	for _, f := range builtFamilies() {
		if f.Name() == "ipxe" {
			continue
		}
		only := onlyFamily(t, one, f.Name())
		if r := diffJSON(t, filepath.Join(only, "amd64"), two); f.Name() != "oci" {
			wantFiles(t, r)
		} else if got := strings.Join(section(r, "amd64", compare.Files), "\n"); !strings.Contains(got, "- /etc/hostname ") || !strings.Contains(got, "~ /sbin/init size 5019 → 5017") {
			t.Errorf("of the image: %s", got)
		}
	}
}

// onlyFamily copies a build with only one family's files.
func onlyFamily(t *testing.T, dir, family string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(filepath.Join(to, "amd64", family), os.DirFS(filepath.Join(dir, "amd64", family))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(to, "amd64", manifest.FileName), readAll(t, filepath.Join(dir, "amd64", manifest.FileName)))
	return to
}

func TestDiffText(t *testing.T) {
	one, two := writeBuilt(t), writeOther(t)
	code, out, log := run(t, testEnv(t), "diff", "--exit-code", one, two)
	if code != ExitDiffer || log != "" {
		t.Errorf("%d %s", code, log)
	}
	for _, want := range []string{"amd64:\n  settings:\n    ~ root digest ", "\n  files:\n    + /etc/group ", "arm64: only in " + one + "\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q isn't in\n%s", want, out)
		}
	}
	if code, out, log := run(t, testEnv(t), "diff", "--exit-code", one, one); code != 0 || out != "amd64: no difference\narm64: no difference\n" {
		t.Errorf("%d %s%s", code, out, log)
	}
}

func TestDiffReferences(t *testing.T) {
	one, two := writeBuilt(t), writeOther(t)
	s, first := publishBuilt(t, one)
	_, second := publishBuilt(t, two)
	a, b := first.Repository+":"+first.Index.Tag, second.Repository+":"+second.Index.Tag
	wantFiles(t, diffJSON(t, a, b))
	wantFiles(t, diffJSON(t, a, two))
	if r := diffJSON(t, a, one); !r.Equal() {
		t.Errorf("a build and what was published of it: %+v", r)
	}
	code, out, log := run(t, testEnv(t), append([]string{"diff", "--exit-code", a, a}, policyFlags(s)...)...)
	if code != 0 || strings.Contains(log, "not verified") {
		t.Errorf("verified: %d %s%s", code, out, log)
	}
	if code, _, log := run(t, testEnv(t), "diff", a, one); code != 0 || !strings.Contains(log, a+": not verified; give --trusted-root") {
		t.Errorf("not verified: %d %s", code, log)
	}
	code, _, log = run(t, testEnv(t), append(append([]string{"diff", a, one}, policyFlags(s)...), "--identity-regexp", "somebody else")...)
	if code != ExitRemote || !strings.Contains(log, "verifying") {
		t.Errorf("a stranger: %d %s", code, log)
	}
	// One artifact that holds no root, and one that does.
	for _, p := range first.Publications {
		if p.Arch != "amd64" {
			continue
		}
		code, _, log := run(t, testEnv(t), "diff", p.OCIRef, two)
		if wantCode := map[bool]int{true: ExitInput, false: ExitOK}[p.Family == "ipxe"]; code != wantCode {
			t.Errorf("%s: %d %s", p.Family, code, log)
		}
	}
}

func TestDiffPlansAndLocks(t *testing.T) {
	b := newLockBench(t)
	keep := func(name, text string) string { return write(t, filepath.Join(b.dir, name), text) }
	plan := func() string {
		code, out, log := b.run(t, "plan", "--json")
		if code != 0 {
			t.Fatal(log)
		}
		return out
	}
	if code, _, log := b.run(t, "lock"); code != 0 {
		t.Fatal(log)
	}
	oldPlan, oldLock := keep("old.json", plan()), keep("old.lock", b.lock(t))
	b.define(t, "app,tool")
	file := filepath.Join(b.dir, "platform.yaml")
	write(t, file, readAll(t, file)+"cmdline: [\"console=${console}\", quiet]\nusers: [{name: jane, uid: 1234}]\npermissions: [{path: /etc/x, mode: \"0600\"}]\n")
	if code, _, log := b.run(t, "lock"); code != 0 {
		t.Fatal(log)
	}
	newPlan := keep("new.json", plan())
	r := diffJSON(t, oldPlan, newPlan)
	for name, want := range map[string]string{
		compare.Packages: "+ tool 1.0, use root", compare.Cmdline: "+ quiet", compare.Users: "+ jane uid 1234, ", compare.Permissions: "+ /etc/x mode 0600, owner 0:0",
	} {
		if got := section(r, "arm64", name); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	r = diffJSON(t, oldLock, newPlan)
	if got := section(r, "amd64", compare.Packages); len(got) != 1 || got[0] != "+ tool 1.0, use root" || !slices.Contains(r.Archs[0].Unknown, compare.Cmdline) {
		t.Errorf("a lock and a plan: %+v", r)
	}
	if r := diffJSON(t, filepath.Join(b.dir, "platform.lock"), filepath.Join(b.dir, "platform.lock")); !r.Equal() {
		t.Errorf("a lock and itself: %+v", r)
	}
}

func TestDiffMistakes(t *testing.T) {
	dir := t.TempDir()
	empty := write(t, filepath.Join(dir, "empty.json"), "{}")
	text := write(t, filepath.Join(dir, "text"), "no JSON")
	for _, x := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{empty}, ExitInput, "accepts 2 arg(s)"},
		{[]string{empty, empty}, ExitInput, "reading a plan: its form has version 0"},
		{[]string{text, empty}, ExitInput, "name a lock, what plan --json printed, a folder that build wrote, or a reference"},
		{[]string{dir, empty}, ExitInput, "name the folder that build wrote"},
		{[]string{"./none", empty}, ExitInput, "no such file"},
		{[]string{"registry.example.com/x", empty}, ExitInput, "it has neither a tag nor a digest"},
	} {
		code, _, log := run(t, testEnv(t), append([]string{"diff"}, x.args...)...)
		if code != x.code || !strings.Contains(log, x.want) {
			t.Errorf("%q: %d %s, want %q", x.args, code, log, x.want)
		}
	}
}
