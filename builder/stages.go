package builder

import (
	"context"
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
	s.fetch.waits = true
	s.unpackRoot = newStage(g, b.stageName("unpack-root"), b.rootNeeds(s), b.readRoot)
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
	s.image.long = true // and most others wait for it
}

// rootNeeds is what reading the root's source needs. Packages are unpacked while
// others are still on their way; a bootstrap has a time limit and wants all.
func (b *targetBuild) rootNeeds(s *targetStages) []need {
	if b.target.Root != nil && b.target.Root.Source == bootstrapSource {
		return needs(s.fetch)
	}
	return along(s.fetch)
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

// addDocuments adds the stages that describe the build.
func (b *targetBuild) addDocuments(g *graph, s *targetStages) {
	s.sbom = newStage(g, b.stageName("sbom"), needs(s.finished), func(ctx context.Context) (output, error) {
		return b.writeSBOM(ctx, s.finished.get(), [2]string{manifest.SPDXName, manifest.CycloneDXName})
	}).keep(b.by(func(i identities) identity { return i.sbom }), outputKeeper{b.staging})
	needed := append(needs(s.sbom), values(s.kernel, s.image)...)
	for _, f := range s.families {
		needed = append(needed, need{stage: f, content: true})
	}
	s.manifest = newStage(g, b.stageName("manifest"), needed, func(context.Context) (output, error) {
		var outputs []familyOutput
		for i, f := range b.families() {
			outputs = append(outputs, familyOutput{f.Name(), s.families[i].get()})
		}
		return b.writeManifest(s.kernel.get().Value, s.image.get(), outputs, s.sbom.get().files)
	}).keep(b.by(func(i identities) identity { return i.manifest }), outputKeeper{b.staging})
}
