package builder

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/finish"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/bootstrap"
	"github.com/powernode/bootsmith/builder/spec"
)

// askedArchive remembers what it was asked for.
type askedArchive struct {
	fakeArchive
	asked *[]apt.Request
}

func (a askedArchive) ResolveEach(ctx context.Context, requests []apt.Request) ([]apt.Resolution, error) {
	*a.asked = requests
	all, err := a.fakeArchive.ResolveEach(ctx, requests)
	for i, r := range all {
		for j, p := range r.Packages {
			all[i].Packages[j].SHA256 = p.Name // tells packages apart
		}
	}
	return all, err
}

func TestBootstrapIsPlanned(t *testing.T) {
	f := parse(t, `name: demo
architectures: [amd64]
root:
  bootstrap:
    suite: trixie
    variant: important
    include: [openssh-server]
    repositories: [{suite: trixie-security}]
    hooks: {setup: [./first.sh], customize: ["./${arch}.sh"]}
    timeout: 5m
`)
	for _, name := range []string{"first.sh", "amd64.sh"} {
		if err := os.WriteFile(filepath.Join(f.Dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var asked []apt.Request
	c := testConfig(t)
	c.Archive = func(_ *spec.File, a arch.Arch) (Archive, error) {
		return askedArchive{fakeArchive{arch: a}, &asked}, nil
	}
	p := newTestPlan(t, c, Request{File: f})
	if r := asked[0]; !r.Essential || !slices.Equal(r.Priorities, []string{"required", "important"}) || !slices.Equal(r.Names, []string{"apt", "openssh-server"}) {
		t.Errorf("asked for %+v", r)
	}
	target := p.Targets[0]
	if target.Root == nil || target.Root.Source != "bootstrap" {
		t.Fatalf("root %+v", target.Root)
	}
	b, err := newTargetBuild(c, f, p, target, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, ok := b.root.(bootstrap.Source)
	if !ok || len(s.Packages) != 2 || s.Archive == nil || s.Timeout.Minutes() != 5 {
		t.Fatalf("source %+v", b.root)
	}
	want := []bootstrap.Hook{
		{Stage: "setup", Path: filepath.Join(f.Dir, "first.sh"), Field: "root.bootstrap.hooks.setup[0]"},
		{Stage: "customize", Path: filepath.Join(f.Dir, "amd64.sh"), Field: "root.bootstrap.hooks.customize[0]"},
	}
	if !slices.Equal(s.Hooks, want) {
		t.Errorf("hooks %+v", s.Hooks)
	}
	if b.rootState() != finish.Bootstrapped {
		t.Errorf("state %d", b.rootState())
	}
	// The kernel is unpacked for its modules, and the SBOM has to name it.
	if k := target.Packages.kernelInRoot(); len(k) != 1 || k[0].Name != "linux-image-cloud-amd64" {
		t.Errorf("kernel in the root: %+v", k)
	}
	if u := target.undocumented(); len(u) != 2 {
		t.Errorf("outside of the database: %+v", u)
	}
	before := p.Digest()
	if err := os.WriteFile(want[1].Path, []byte("#!/bin/sh\ntrue\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if again := newTestPlan(t, c, Request{File: f}); again.Digest() == before {
		t.Error("another hook makes the same plan")
	}
}
