package builder

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/families"
)

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

// begun is a family that was begun.
type begun struct {
	sink   *families.Sink
	finish families.Finish
}

// addFamilies adds a stage for each family, and one before it for those that can
// begin early.
func (b *targetBuild) addFamilies(g *graph, s *targetStages) {
	for _, f := range b.families() {
		var st *stage[output]
		if early, ok := f.(families.Early); ok {
			st = b.addEarly(g, early, s)
		} else {
			needed := append(values(s.kernel, s.image), b.partNeeds(f, s)...)
			st = newStage(g, b.stageName(f.Name()), needed, func(ctx context.Context) (output, error) {
				return b.buildFamily(ctx, f, s)
			})
		}
		_, st.long = f.(families.Long)
		st.keep(b.by(func(i identities) identity { return i.families[f.Name()] }), outputKeeper{b.familyDir(f)})
		s.families = append(s.families, st)
	}
}

// addEarly adds the two stages of a family that can begin early, and returns the
// second.
func (b *targetBuild) addEarly(g *graph, f families.Early, s *targetStages) *stage[output] {
	first := newStage(g, b.stageName("begin-"+f.Name()), append(values(s.kernel), b.partNeeds(f, s)...), func(ctx context.Context) (begun, error) {
		sink := families.NewSink(b.familyDir(f))
		defer sink.Close()
		finish, err := f.Begin(ctx, b.earlyInput(f, s).Only(families.PartsOf(f)), sink)
		return begun{sink, finish}, b.buildingFamily(f, err)
	})
	needed := append(needs(first), append(values(s.kernel, s.image), b.partNeeds(f, s)...)...)
	return newStage(g, b.stageName(f.Name()), needed, func(ctx context.Context) (output, error) {
		begun := first.get()
		defer begun.sink.Close()
		if err := begun.finish(ctx, b.input(f, s).Only(families.PartsOf(f))); err != nil {
			return output{}, b.buildingFamily(f, err)
		}
		return finished(begun.sink)
	})
}

// partNeeds are the stages that make the parts of a family.
func (b *targetBuild) partNeeds(f families.Family, s *targetStages) []need {
	var list []need
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
		return output{}, b.buildingFamily(f, err)
	}
	return finished(sink)
}

// finished returns what a family has committed.
func finished(sink *families.Sink) (output, error) {
	main, err := sink.Main()
	return newOutput(sink, main.Name), err
}

func (b *targetBuild) buildingFamily(f families.Family, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("building %s for %s: %w", f.Name(), b.arch.Name, err)
}

// input joins what the stages that a family needs have made.
func (b *targetBuild) input(f families.Family, s *targetStages) families.Input {
	img := s.image.get()
	in := b.earlyInput(f, s)
	in.Cmdline = b.cmdline(img)
	in.RootDigest, in.RootHash = fmt.Sprintf("%x", img.Value.Digest), fmt.Sprintf("%x", img.Value.RootHash)
	if slices.Contains(families.PartsOf(f), families.PartRootImage) {
		in.RootImage = img.blob
	}
	return in
}

// earlyInput is input without what the root image tells.
func (b *targetBuild) earlyInput(f families.Family, s *targetStages) families.Input {
	ids, _ := b.ids()
	in := families.Input{
		Platform: b.plan.Platform, Arch: b.arch, KernelVersion: s.kernel.get().Value, Cmdline: strings.Join(b.target.Cmdline, " "),
		DiskSize: b.plan.DiskSize, Persist: b.plan.Persist, BaseURL: strings.ReplaceAll(b.plan.BaseURL, "${arch}", b.arch.Name),
		Revision: b.plan.Revision, Epoch: b.plan.time(), ID: ids.parts[f.Name()].id,
	}
	for _, p := range families.PartsOf(f) {
		switch {
		case p == families.PartKernel:
			in.Kernel = s.kernel.get().blob
		case p == families.PartInitramfs:
			in.Initramfs = s.initramfs.get().blob
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
