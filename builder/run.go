package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families"
)

// Run builds a plan into output/<arch>/ for every architecture and returns the
// manifests in the plan's order. Each folder appears whole, or, when anything
// fails, not at all: what stood there before stays.
func Run(ctx context.Context, c Config, f *spec.File, p *Plan, output string) (_ []*manifest.Manifest, err error) {
	if err := checkSigner(c, p); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return nil, fault.Buildf("making the output folder: %w", err)
	}
	work, err := os.MkdirTemp(output, ".work-")
	if err != nil {
		return nil, fault.Buildf("making a work folder: %w", err)
	}
	defer func() { err = explain(ctx, errors.Join(err, os.RemoveAll(work))) }()

	g := newGraph(ctx, c.Jobs, c.Now, c.Report)
	var results []*result[*manifest.Manifest]
	for _, t := range p.Targets {
		b, err := newTargetBuild(c, f, p, t, work)
		if err != nil {
			return nil, err
		}
		results = append(results, b.addStages(g))
	}
	if err := g.wait(); err != nil {
		return nil, err
	}
	var built []*manifest.Manifest
	for _, r := range results {
		built = append(built, r.get())
	}
	return built, publishFolders(p, work, output)
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
	config  Config
	plan    *Plan
	target  Target
	arch    arch.Arch
	archive Archive    // nil: the plan has no packages
	root    rootSource // nil: the root is made of packages
	// kernelFiles is nil unless the kernel is in files.
	kernelFiles rootSource
	staging     string // becomes output/<arch>
	scratch     string
	overlayDir  string
	espDir      string
	file        *spec.File
}

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
		config: c, plan: p, target: t, arch: a, archive: archive, root: root, kernelFiles: kernelFiles,
		staging: filepath.Join(work, t.Arch), scratch: scratch,
		overlayDir: f.Resolve(f.Files), espDir: f.Resolve(f.ESP), file: f,
	}
	for _, dir := range []string{b.staging, b.scratch} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// addStages adds the architecture's stages to the graph, in the order of the
// data flow, and returns the last.
func (b *targetBuild) addStages(g *graph) *result[*manifest.Manifest] {
	name := func(s string) string { return b.arch.Name + "/" + s }

	fetched := stage(g, name("fetch"), nil, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, b.fetch(ctx)
	})
	boot := stage(g, name("unpack-kernel"), []dependency{fetched}, b.unpackKernel)
	root := stage(g, name("unpack-root"), []dependency{fetched}, b.unpackRoot)
	image := stage(g, name("root-image"), []dependency{root}, func(ctx context.Context) (rootImage, error) {
		return b.writeRootImage(ctx, root.get())
	})
	kernelFrom := boot
	if b.target.bootsFromRoot() {
		kernelFrom = root
	}
	kern := stage(g, name("kernel"), []dependency{kernelFrom}, func(ctx context.Context) (kernelPart, error) {
		return b.findKernel(ctx, kernelFrom.get())
	})
	initrd := stage(g, name("initramfs"), []dependency{kern}, func(ctx context.Context) (families.Blob, error) {
		return b.writeInitramfs(ctx, kern.get().Kernel)
	})
	uki := stage(g, name("uki"), []dependency{boot, root, kern, initrd, image}, func(ctx context.Context) (families.Blob, error) {
		unsigned, err := b.writeUKI(ctx, boot.get(), root.get(), kern.get(), initrd.get(), b.cmdline(image.get()))
		if err != nil {
			return families.Blob{}, err
		}
		return b.signUKI(ctx, unsigned)
	})
	sbom := stage(g, name("sbom"), []dependency{root}, func(ctx context.Context) ([]families.Artifact, error) {
		return b.writeSBOM(ctx, root.get(), [2]string{manifest.SPDXName, manifest.CycloneDXName})
	})
	needs := []dependency{uki}
	var firmware *result[families.RPi4]
	if b.builds(families.RPi4Name) {
		firmware = stage(g, name("firmware"), []dependency{kern}, func(ctx context.Context) (families.RPi4, error) {
			return b.rpi4Input(ctx, kernelFrom.get(), kern.get())
		})
		needs = append(needs, firmware)
	}
	input := func() families.Input {
		in := b.input(root.get(), kern.get(), initrd.get(), image.get(), uki.get())
		if firmware != nil {
			in.RPi4 = firmware.get()
		}
		return in
	}
	built, ends := b.addFamilies(g, needs, input)
	return stage(g, name("manifest"), append(ends, sbom), func(context.Context) (*manifest.Manifest, error) {
		var outputs []familyOutput
		for _, f := range built {
			outputs = append(outputs, f.get())
		}
		return b.writeManifest(kern.get().Version, image.get(), outputs, sbom.get())
	})
}

// familyOutput is a family's files, with names relative to its folder.
type familyOutput struct {
	name  string
	main  families.Artifact
	files []families.Artifact
}

func (b *targetBuild) addFamilies(g *graph, needs []dependency, input func() families.Input) ([]*result[familyOutput], []dependency) {
	var built []*result[familyOutput]
	var ends []dependency
	for _, f := range b.families() {
		r := stage(g, b.arch.Name+"/"+f.Name(), needs, func(ctx context.Context) (familyOutput, error) {
			return b.buildFamily(ctx, f, input())
		})
		built, ends = append(built, r), append(ends, r)
	}
	return built, ends
}

func (b *targetBuild) buildFamily(ctx context.Context, f families.Family, in families.Input) (familyOutput, error) {
	sink := families.NewSink(filepath.Join(b.staging, f.Name()))
	defer sink.Close()
	var err error
	if in.Scratch, err = b.scratchDir(f.Name()); err != nil {
		return familyOutput{}, err
	}
	if in.ESP, err = b.espFiles(ctx, in.Scratch); err != nil {
		return familyOutput{}, err
	}
	if err := f.Build(ctx, in, sink); err != nil {
		return familyOutput{}, fmt.Errorf("building %s for %s: %w", f.Name(), b.arch.Name, err)
	}
	main, err := sink.Main()
	return familyOutput{name: f.Name(), main: main, files: sink.Artifacts()}, err
}

func (b *targetBuild) input(root *tree.Tree, k kernelPart, initrd families.Blob, img rootImage, uki families.Blob) families.Input {
	return families.Input{
		Platform: b.plan.Platform, Arch: b.arch,
		Kernel: k.blob, KernelVersion: k.Version, Initramfs: initrd, RootImage: img.blob, UKI: uki,
		Tree: root, Store: b.config.Store,
		Cmdline: b.cmdline(img), RootDigest: fmt.Sprintf("%x", img.Digest), RootHash: fmt.Sprintf("%x", img.RootHash),
		DiskSize: b.plan.DiskSize, Persist: b.plan.Persist, BaseURL: strings.ReplaceAll(b.plan.BaseURL, "${arch}", b.arch.Name),
		Revision: b.plan.Revision, Epoch: b.plan.time(), ID: b.id,
	}
}
