package builder

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families"
)

// Parts of a build.
type (
	rootImage   = part[composefs.RootImage]
	kernelImage = part[string] // with the kernel's version
	plainPart   = part[struct{}]
)

// targetStages are an architecture's stages, in the order of the data flow.
type targetStages struct {
	fetch                              *stage[struct{}]
	unpackKernel, unpackRoot, finished *stage[*tree.Tree]
	image                              *stage[rootImage]
	kernel                             *stage[kernelImage]
	initramfs, uki                     *stage[plainPart]
	firmware                           *stage[families.RPi4]
	sbom, manifest                     *stage[output]
	families                           []*stage[output]
}

// addStages adds the architecture's stages to the graph and returns those whose
// files are the build's.
func (b *targetBuild) addStages(g *graph) []dependency {
	s := &targetStages{}
	b.addRoot(g, s)
	b.addBoot(g, s)
	b.addFamilies(g, s)
	b.addDocuments(g, s)
	wanted := []dependency{s.sbom, s.manifest}
	for _, f := range s.families {
		wanted = append(wanted, f)
	}
	return wanted
}

func (b *targetBuild) stageName(s string) string { return b.arch.Name + "/" + s }

// by returns the function that picks a stage's identity.
func (b *targetBuild) by(pick func(identities) identity) func() (identity, bool) {
	return func() (identity, bool) {
		ids, ok := b.ids()
		return pick(ids), ok
	}
}

// addRoot adds the stages that make the root.
func (b *targetBuild) addRoot(g *graph, s *targetStages) {
	trees := treeKeeper{b.config.Store}
	s.fetch = newStage(g, b.stageName("fetch"), nil, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, b.fetch(ctx)
	})
	s.unpackRoot = newStage(g, b.stageName("unpack-root"), needs(s.fetch), b.readRoot)
	b.ids = sync.OnceValues(func() (identities, bool) { return b.identify(""), true })
	if b.scripted() {
		// What comes after it depends on what the script has made this time.
		b.ids = sync.OnceValues(func() (identities, bool) {
			if !g.await(s.unpackRoot.want(true)) {
				return identities{}, false
			}
			return b.identify(source.Digest(s.unpackRoot.get())), true
		})
	} else {
		s.unpackRoot.keep(b.by(func(i identities) identity { return i.unpackRoot }), trees)
	}
	s.finished = newStage(g, b.stageName("finish-root"), needs(s.unpackRoot), func(ctx context.Context) (*tree.Tree, error) {
		return b.finishRoot(ctx, s.unpackRoot.get())
	}).keep(b.by(func(i identities) identity { return i.finishRoot }), trees)
	s.finished.local = true // it has the contents of unpack-root, and is soon made
	s.image = newStage(g, b.stageName("root-image"), needs(s.finished), func(ctx context.Context) (rootImage, error) {
		return b.writeRootImage(ctx, s.finished.get())
	}).keep(b.by(func(i identities) identity { return i.rootImage }), partKeeper[composefs.RootImage]{"root.img"})
}

// addBoot adds the stages that make what boots.
func (b *targetBuild) addBoot(g *graph, s *targetStages) {
	s.unpackKernel = newStage(g, b.stageName("unpack-kernel"), needs(s.fetch), b.unpackKernel).
		keep(b.by(func(i identities) identity { return i.unpackKernel }), treeKeeper{b.config.Store})
	from := s.unpackKernel
	if b.target.bootsFromRoot() {
		from = s.finished
	}
	s.kernel = newStage(g, b.stageName("kernel"), needs(from), func(ctx context.Context) (kernelImage, error) {
		return b.writeKernel(ctx, from.get())
	}).keep(b.by(func(i identities) identity { return i.kernel }), partKeeper[string]{"vmlinuz"})
	s.initramfs = newStage(g, b.stageName("initramfs"), needs(from), func(ctx context.Context) (plainPart, error) {
		return b.writeInitramfs(ctx, from.get())
	}).keep(b.by(func(i identities) identity { return i.initramfs }), partKeeper[struct{}]{"initramfs.cpio.zst"})
	needed := append(needs(s.unpackKernel, s.finished, s.kernel, s.initramfs), values(s.image)...)
	s.uki = newStage(g, b.stageName("uki"), needed, func(ctx context.Context) (plainPart, error) {
		return b.makeUKI(ctx, s)
	}).keep(b.by(func(i identities) identity { return i.uki }), partKeeper[struct{}]{"uki.efi"})
	s.firmware = newStage(g, b.stageName("firmware"), append(needs(from), values(s.kernel)...), func(ctx context.Context) (families.RPi4, error) {
		return b.rpi4Input(ctx, from.get(), s.kernel.get().Value)
	})
}

// addFamilies adds a stage for each family.
func (b *targetBuild) addFamilies(g *graph, s *targetStages) {
	for _, f := range b.families() {
		st := newStage(g, b.stageName(f.Name()), b.familyNeeds(f, s), func(ctx context.Context) (output, error) {
			return b.buildFamily(ctx, f, s)
		})
		st.keep(b.by(func(i identities) identity { return i.families[f.Name()] }), outputKeeper{b.familyDir(f)})
		s.families = append(s.families, st)
	}
}

// familyNeeds are the stages that make the parts of a family.
func (b *targetBuild) familyNeeds(f families.Family, s *targetStages) []need {
	list := values(s.kernel, s.image)
	for _, part := range families.PartsOf(f) {
		switch {
		case part == families.PartKernel:
			list = append(list, needs(s.kernel)...)
		case part == families.PartInitramfs:
			list = append(list, needs(s.initramfs)...)
		case part == families.PartRootImage:
			list = append(list, needs(s.image)...)
		case part == families.PartUKI:
			list = append(list, needs(s.uki)...)
		case part == families.PartTree:
			list = append(list, needs(s.finished)...)
		case part == families.PartRPi4 && b.plan.Boot.RPi4 != nil:
			list = append(list, needs(s.firmware)...)
		}
	}
	return list
}

// addDocuments adds the stages that describe the build.
func (b *targetBuild) addDocuments(g *graph, s *targetStages) {
	s.sbom = newStage(g, b.stageName("sbom"), needs(s.finished), func(ctx context.Context) (output, error) {
		return b.writeSBOM(ctx, s.finished.get(), [2]string{manifest.SPDXName, manifest.CycloneDXName})
	}).keep(b.by(func(i identities) identity { return i.sbom }), outputKeeper{b.staging})
	needed := append(needs(s.sbom), values(s.kernel, s.image)...)
	for _, f := range s.families {
		needed = append(needed, need{f, true})
	}
	s.manifest = newStage(g, b.stageName("manifest"), needed, func(context.Context) (output, error) {
		var outputs []familyOutput
		for i, f := range b.families() {
			outputs = append(outputs, familyOutput{f.Name(), s.families[i].get()})
		}
		return b.writeManifest(s.kernel.get().Value, s.image.get(), outputs, s.sbom.get().files)
	}).keep(b.by(func(i identities) identity { return i.manifest }), outputKeeper{b.staging})
}

// output is files of the build's folder, with names relative to the folder that
// the stage writes to.
type output struct {
	main  string // the file that stands for a family
	files []families.Artifact
	sink  *families.Sink // that they were written to; nil when they were cached
}

// newOutput returns what was committed to a sink.
func newOutput(sink *families.Sink, main string) output {
	return output{main: main, files: sink.Artifacts(), sink: sink}
}

// spans says where the bytes of a file come from, as far as that is known.
func (o output) spans(name string) []families.Span {
	if o.sink == nil {
		return nil
	}
	return o.sink.Spans(name)
}

// familyOutput is a family's files.
type familyOutput struct {
	name string
	output
}

func (b *targetBuild) familyDir(f families.Family) string { return filepath.Join(b.staging, f.Name()) }

func (b *targetBuild) buildFamily(ctx context.Context, f families.Family, s *targetStages) (output, error) {
	var err error
	in := b.input(f, s)
	sink := families.NewSink(b.familyDir(f))
	defer sink.Close()
	if in.Scratch, err = b.scratchDir(f.Name()); err != nil {
		return output{}, err
	}
	if in.ESP, err = b.espFiles(ctx, in.Scratch); err != nil {
		return output{}, err
	}
	if err := f.Build(ctx, in.Only(families.PartsOf(f)), sink); err != nil {
		return output{}, fmt.Errorf("building %s for %s: %w", f.Name(), b.arch.Name, err)
	}
	main, err := sink.Main()
	return newOutput(sink, main.Name), err
}

// input joins what the stages that a family needs have made.
func (b *targetBuild) input(f families.Family, s *targetStages) families.Input {
	ids, _ := b.ids()
	img := s.image.get()
	in := families.Input{
		Platform: b.plan.Platform, Arch: b.arch, KernelVersion: s.kernel.get().Value,
		Cmdline: b.cmdline(img), RootDigest: fmt.Sprintf("%x", img.Value.Digest), RootHash: fmt.Sprintf("%x", img.Value.RootHash),
		DiskSize: b.plan.DiskSize, Persist: b.plan.Persist, BaseURL: strings.ReplaceAll(b.plan.BaseURL, "${arch}", b.arch.Name),
		Revision: b.plan.Revision, Epoch: b.plan.time(), ID: ids.parts[f.Name()].id,
	}
	for _, p := range families.PartsOf(f) {
		switch {
		case p == families.PartKernel:
			in.Kernel = s.kernel.get().blob
		case p == families.PartInitramfs:
			in.Initramfs = s.initramfs.get().blob
		case p == families.PartRootImage:
			in.RootImage = img.blob
		case p == families.PartUKI:
			in.UKI = s.uki.get().blob
		case p == families.PartTree:
			in.Tree, in.Store = s.finished.get(), b.config.Store
		case p == families.PartRPi4 && b.plan.Boot.RPi4 != nil:
			in.RPi4 = s.firmware.get()
		}
	}
	return in
}
