package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/store"
)

// Run builds a plan into output/<arch>/ for every architecture and returns the
// manifests in the plan's order. Each folder appears whole, or, when anything
// fails, not at all: what stood there before stays. What a killed build left in
// output is deleted.
//
// Results that are in the cache are taken from there after they were verified.
// A damaged or missing object is found when it is read, which may be late: all
// objects are checked then, as one is seldom damaged alone, and the build begins
// again, once, and makes what these were made from anew.
func Run(ctx context.Context, c Config, f *spec.File, p *Plan, output string) ([]*manifest.Manifest, error) {
	built, err := runOnce(ctx, c, f, p, output)
	if store.IsLost(err) && ctx.Err() == nil {
		c.Report(Event{Time: c.Now(), Stage: "cache", State: Progress, Detail: "checking all objects and building again: " + err.Error()})
		if err := c.Store.DeleteDamaged(ctx); err != nil {
			return nil, explain(ctx, err)
		}
		built, err = runOnce(ctx, c, f, p, output)
	}
	return built, err
}

func runOnce(ctx context.Context, c Config, f *spec.File, p *Plan, output string) (_ []*manifest.Manifest, err error) {
	if err := checkSigner(c, f, p); err != nil {
		return nil, err
	}
	if err := checkOutput(f, p, output); err != nil {
		return nil, err
	}
	dir, err := makeWorkDir(output)
	if err != nil {
		return nil, explain(ctx, err)
	}
	defer func() { err = explain(ctx, errors.Join(err, dir.remove())) }()
	work := dir.path

	g := newGraph(ctx, c)
	var builds []*targetBuild
	for _, t := range p.Targets {
		b, err := newTargetBuild(c, f, p, t, work)
		if err != nil {
			return nil, err
		}
		builds = append(builds, b)
	}
	for _, b := range builds {
		for _, s := range b.addStages(g) {
			s.want(true)
		}
	}
	if err := g.wait(); err != nil {
		return nil, err
	}
	var built []*manifest.Manifest
	for _, b := range builds {
		m, err := manifest.Read(b.staging)
		if err != nil {
			return nil, err
		}
		built = append(built, m)
	}
	if err := publishFolders(p, work, output); err != nil {
		return nil, err
	}
	return built, g.remote.failure()
}

// explain gives a failed build its class and names the usual outer causes.
func explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC):
		return &fault.Error{Class: fault.Build, Err: err, Fix: "free disk space in the output and cache folders, then build again"}
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return fault.Buildf("building: interrupted, nothing was left behind")
	}
	return fault.Default(fault.Build, err)
}

// publishFolders moves the finished folders to their final names.
func publishFolders(p *Plan, work, output string) error {
	// Another build may be about to replace the same folders.
	if lock, err := lockDir(output, syscall.LOCK_EX); err == nil {
		defer lock.Close()
	}
	for _, t := range p.Targets {
		final := filepath.Join(output, t.Arch)
		old := filepath.Join(work, "old-"+t.Arch)
		if err := os.Rename(final, old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replacing %q: %w", final, err)
		}
		if err := os.Rename(filepath.Join(work, t.Arch), final); err != nil {
			return fmt.Errorf("publishing %q: %w", final, err)
		}
	}
	return nil
}

// targetBuild is what all stages of one architecture share; it doesn't change
// while they run.
type targetBuild struct {
	planned
	config  Config
	archive Archive    // nil: the plan has no packages
	root    rootSource // nil: the root is made of packages
	// kernelFiles is nil unless the kernel is in files.
	kernelFiles rootSource
	staging     string // becomes output/<arch>
	scratch     string
	parts       string // where parts are written
	overlayDir  string
	espDir      string
	file        *spec.File
	// ids returns the identities of the stages. It may wait for one, and returns
	// false when the graph was cancelled meanwhile.
	ids func() (identities, bool)
}

// newTargetBuild returns what the architecture's stages share. Without a work
// folder, the stages can't run.
func newTargetBuild(c Config, f *spec.File, p *Plan, t Target, work string) (*targetBuild, error) {
	a, err := arch.Lookup(t.Arch)
	if err != nil {
		return nil, fault.Inputf("%w", err)
	}
	archive, err := openArchive(c, f, a)
	if err != nil {
		return nil, err
	}
	scratch := filepath.Join(work, "scratch-"+t.Arch)
	_, root, err := newRootSource(c, f, a, scratch)
	if err != nil {
		return nil, err
	}
	kernelFiles, err := newKernelFiles(f, a)
	if err != nil {
		return nil, err
	}
	b := &targetBuild{
		planned: planned{plan: p, target: t, arch: a, modules: f.Kernel.Modules}, config: c, archive: archive, root: withPackages(root, t.Packages, archive), kernelFiles: kernelFiles,
		staging: filepath.Join(work, t.Arch), scratch: scratch, parts: filepath.Join(scratch, "parts"),
		overlayDir: f.Resolve(f.Files), espDir: f.Resolve(f.ESP), file: f,
	}
	if c.Cache != nil {
		// There, parts become the cache's by renaming.
		b.parts = filepath.Join(c.Cache.Scratch(), t.Arch)
	}
	if work == "" {
		return b, nil
	}
	for _, dir := range []string{b.staging, b.scratch} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return b, nil
}
