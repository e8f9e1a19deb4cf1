package builder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families"
)

// fakeArchive resolves every name to one version; its packages hold nothing.
type fakeArchive struct {
	arch arch.Arch
	err  error
}

var released = time.Date(2026, 9, 5, 10, 0, 0, 0, time.UTC)

func (f fakeArchive) ResolveEach(_ context.Context, requests []apt.Request) ([]apt.Resolution, error) {
	var all []apt.Resolution
	for _, r := range requests {
		out := apt.Resolution{Suite: "trixie", Arch: f.arch.Name, ReleaseDate: released, ReleaseSHA256: "aa"}
		for _, name := range r.Names {
			out.Packages = append(out.Packages, apt.Package{Name: name, Version: "1", Arch: f.arch.Name})
		}
		all = append(all, out)
	}
	return all, f.err
}

func (f fakeArchive) Fetch(context.Context, []apt.Package, apt.Progress) error { return f.err }

func (f fakeArchive) Cached(apt.Package) bool { return false }

func (f fakeArchive) UnpackRoot(context.Context, *tree.Tree, *store.Store, []apt.Package, int64) error {
	return f.err
}

func (f fakeArchive) Open(context.Context, apt.Package) (*os.File, error) { return nil, f.err }

func (f fakeArchive) UnpackInto(context.Context, *tree.Tree, *store.Store, apt.Package) error {
	return f.err
}

func testConfig(t testing.TB) Config {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Archive: func(_ *spec.File, a arch.Arch) (Archive, error) { return fakeArchive{arch: a}, nil },
		Store:   s, Now: time.Now, Report: quiet, Jobs: 2,
		Exec: func(context.Context, string, ...string) ([]byte, error) { return nil, errors.New("no git") },
	}
}

const definition = `name: demo
root:
  packages: {suite: trixie, include: [busybox-static]}
`

func parse(t *testing.T, text string) *spec.File {
	t.Helper()
	f, err := spec.Parse(filepath.Join(t.TempDir(), "platform.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newTestPlan(t *testing.T, c Config, r Request) *Plan {
	t.Helper()
	p, err := NewPlan(context.Background(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanResolvesEveryArchitecture(t *testing.T) {
	p := newTestPlan(t, testConfig(t), Request{File: parse(t, definition)})
	if len(p.Targets) != 2 || len(p.Families) != len(families.Default()) {
		t.Fatalf("%d targets, %d families", len(p.Targets), len(p.Families))
	}
	for i, a := range arch.All() {
		target := p.Targets[i]
		if target.Arch != a.Name || target.Cmdline[0] != "console="+a.Console {
			t.Errorf("target %d = %+v", i, target)
		}
		if target.Packages.Kernel[0].Name != "linux-image-cloud-"+a.Name || target.Packages.Stub[0].Name != stubPackage {
			t.Errorf("packages of %s = %+v", a.Name, target.Packages)
		}
	}
}

// The plan is a function of the request: where the definition stands and when
// the plan is made don't matter.
func TestPlanDigestIsStable(t *testing.T) {
	a := newTestPlan(t, testConfig(t), Request{File: parse(t, definition)})
	b := newTestPlan(t, testConfig(t), Request{File: parse(t, definition)})
	if a.Digest() != b.Digest() {
		t.Error("two plans of one definition differ")
	}
	c := newTestPlan(t, testConfig(t), Request{File: parse(t, definition+"cmdline: [quiet]\n")})
	if a.Digest() == c.Digest() {
		t.Error("plans of different definitions are equal")
	}
	d := newTestPlan(t, testConfig(t), Request{File: parse(t, definition), Revision: "0123456789abcdef"})
	if a.Digest() == d.Digest() || a.seed() != d.seed() {
		t.Error("the revision is not in the digest, or is in the seed")
	}
}

func TestPlanEpochAndRevision(t *testing.T) {
	sha := strings.Repeat("ab", 20)
	git := func(_ context.Context, _ string, argv ...string) ([]byte, error) {
		if argv[1] == "log" {
			return []byte(sha + " 1700000000\n"), nil
		}
		return nil, nil
	}
	for name, x := range map[string]struct {
		exec     Exec
		request  Request
		epoch    int64
		revision string
	}{
		"variable":      {git, Request{SourceDateEpoch: "1600000000"}, 1600000000, sha},
		"commit":        {git, Request{}, 1700000000, sha},
		"flag":          {git, Request{Revision: "1234567"}, 1700000000, "1234567"},
		"no repository": {nil, Request{}, released.Unix(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t)
			if x.exec != nil {
				c.Exec = x.exec
			}
			x.request.File = parse(t, definition)
			p := newTestPlan(t, c, x.request)
			if x.revision == "" {
				x.revision = p.seed()[:40]
			}
			if p.Epoch != x.epoch || p.Revision != x.revision {
				t.Errorf("epoch %d, revision %q; want %d, %q", p.Epoch, p.Revision, x.epoch, x.revision)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		text    string
		request Request
		want    string
	}{
		"family in file": {definition + "families: [raw, vhd]\n", Request{}, `families[1]: looking up family "vhd"`},
		"family in flag": {definition, Request{Families: []string{"vhd"}}, `looking up family "vhd"`},
		"architecture":   {definition, Request{Architectures: []string{"mips"}}, `looking up architecture "mips"`},
		"epoch":          {definition, Request{SourceDateEpoch: "yesterday"}, "SOURCE_DATE_EPOCH"},
		"far epoch":      {definition, Request{SourceDateEpoch: "4294967296"}, "a number of seconds up to 4294967295"},
		"revision":       {definition, Request{Revision: "HEAD"}, "give 7 to 64 hex digits"},
	} {
		t.Run(name, func(t *testing.T) {
			x.request.File = parse(t, x.text)
			_, err := NewPlan(context.Background(), testConfig(t), x.request)
			if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), x.want) {
				t.Errorf("error %v lacks %q or its class", err, x.want)
			}
		})
	}
}

// A build that fails leaves neither artifacts nor its work folder behind, and
// what an earlier build wrote stays.
func TestFailedRunLeavesNothing(t *testing.T) {
	c := testConfig(t)
	f := parse(t, definition)
	p := newTestPlan(t, c, Request{File: f})
	output := t.TempDir()
	old := filepath.Join(output, "amd64", "raw", "old.img")
	if err := os.MkdirAll(filepath.Dir(old), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{old, filepath.Join(output, "amd64", manifest.FileName)} {
		if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	boom := errors.New("boom")
	c.Archive = func(_ *spec.File, a arch.Arch) (Archive, error) { return fakeArchive{arch: a, err: boom}, nil }
	_, err := Run(context.Background(), c, f, p, output)
	if !errors.Is(err, boom) || fault.ClassOf(err) != fault.Build {
		t.Errorf("Run = %v", err)
	}
	left, err := os.ReadDir(output)
	if err != nil || len(left) != 1 || left[0].Name() != "amd64" {
		t.Errorf("the output folder holds %v, %v", left, err)
	}
	if b, err := os.ReadFile(old); err != nil || string(b) != "old" {
		t.Errorf("the earlier build was touched: %v", err)
	}
}

func TestInterruptedRunSaysSo(t *testing.T) {
	c := testConfig(t)
	f := parse(t, definition)
	p := newTestPlan(t, c, Request{File: f})
	ctx, cancel := context.WithCancel(context.Background())
	c.Archive = func(_ *spec.File, a arch.Arch) (Archive, error) {
		cancel()
		return fakeArchive{arch: a}, nil
	}
	_, err := Run(ctx, c, f, p, t.TempDir())
	if fault.ClassOf(err) != fault.Build || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Run = %v", err)
	}
}

// A package that can't be had is the mistake of the field that asks for it.
func TestUnresolvedNamesItsField(t *testing.T) {
	f := parse(t, definition+"kernel: {package: \"linux-${arch}\"}\n")
	a := arch.All()[0]
	no := fault.Inputf("no such package")
	for name, x := range map[string]struct {
		err  error
		want string
	}{
		"kernel":   {&apt.AskedError{Name: "linux-" + a.Name, Err: no}, "kernel.package: no such package"},
		"included": {&apt.AskedError{Name: f.PackageArchive().Include[0], Err: no}, "root.packages.include[0]: no such package"},
		"stub":     {&apt.AskedError{Name: stubPackage, Err: no}, "resolving the packages of " + f.Path},
		"outage":   {&apt.AskedError{Name: f.PackageArchive().Include[0], Err: errors.New("an outage")}, "resolving the packages of " + f.Path + ": an outage"},
	} {
		if err := unresolved(f, a, x.err); !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
