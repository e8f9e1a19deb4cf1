package builder

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/archive"
	"github.com/powernode/bootsmith/builder/source/directory"
	"github.com/powernode/bootsmith/builder/source/image"
	"github.com/powernode/bootsmith/builder/source/script"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// rootSource is what a root comes from when it is not packages.
type rootSource interface {
	// Pin returns what identifies the source's present state, "sha256:<hex>".
	// epoch is the build's time stamp in seconds since 1970.
	Pin(ctx context.Context, s *store.Store, epoch int64) (string, error)
	// Read returns the root, its contents in s. A source that is not in the
	// state that pin stands for is an error.
	Read(ctx context.Context, s *store.Store, epoch int64, pin string) (*tree.Tree, error)
}

// RootPin is a root source, other than packages, in the state in which it was
// planned.
type RootPin struct {
	// Source is the source's field of the definition's root.
	Source string `json:"source"`
	Digest string `json:"digest"`
	// read is the root that the digest was computed of, encoded, where that takes
	// reading it: a run of the plan, in the same process, need not read it again.
	read []byte
}

// written returns the pin as it is read from a file.
func (r *RootPin) written() *RootPin {
	if r == nil {
		return nil
	}
	return &RootPin{Source: r.Source, Digest: r.Digest}
}

// equal tells whether two pins are of one state of one source.
func (r RootPin) equal(other RootPin) bool {
	return r.Source == other.Source && r.Digest == other.Digest
}

// loader is a source whose pin is the digest of the whole root.
type loader interface {
	Load(ctx context.Context, s *store.Store, epoch int64) (*tree.Tree, error)
}

// newRootSource returns the definition's source and its name; nil for packages.
// What a source needs on disk while it is read goes below scratch.
func newRootSource(c Config, f *spec.File, a arch.Arch, scratch string) (string, rootSource, error) {
	limits, err := Limits(f)
	if err != nil {
		return "", nil, err
	}
	switch r := f.Root; {
	case r.Bootstrap != nil:
		b, err := newBootstrap(c, f, a)
		b.Limits = limits
		return bootstrapSource, b, err
	case r.Archive != nil:
		return "archive", archive.Source{Path: f.ResolveFor(a, r.Archive.Path), SHA256: r.Archive.SHA256, Limits: limits}, nil
	case r.Image != nil:
		i, err := newImage(c, f, a)
		i.Limits = limits
		return imageSource, i, err
	case r.Script != nil:
		s, err := newScript(c, f, a, scratch)
		s.Limits = limits
		return scriptSource, s, err
	case r.Directory != nil:
		d := directory.Source{Path: f.ResolveFor(a, r.Directory.Path), UID: c.UID, GID: c.GID, Limits: limits}
		for _, o := range r.Directory.Owners {
			d.Owners = append(d.Owners, directory.Owner{Path: o.Path, UID: o.Owner, GID: o.Group})
		}
		return directorySource, d, nil
	}
	return "", nil, nil
}

// Limits returns what the definition's sources may bring.
func Limits(f *spec.File) (source.Limits, error) {
	bytes, err := f.Root.Limits.Bytes()
	if err != nil {
		return source.Limits{}, f.Bad("root.limits.size", "%v", err)
	}
	return source.Limits{Entries: int(f.Root.Limits.Files), Bytes: bytes}, nil
}

const (
	// imageSource is the name of the source whose digest is the base image's.
	imageSource = "image"
	// scriptSource is the name of the source that may give another root each
	// time.
	scriptSource = "script"
	// directorySource is the name of the source whose digest depends on the
	// build\'s time stamp.
	directorySource = "directory"
)

// newImage returns the definition's container image.
func newImage(c Config, f *spec.File, a arch.Arch) (image.Source, error) {
	layout, repository, digest := f.Root.Image.Split()
	i := image.Source{Arch: a}
	var err error
	if digest != "" {
		if i.Digest, err = v1.NewHash(digest); err != nil {
			return i, f.Bad("root.image.reference", "%v", err)
		}
	}
	if layout == "" {
		i.Blobs, err = c.Images(repository)
		return i, err
	}
	dir := image.Layout{Dir: f.ResolveFor(a, layout)}
	i.Blobs = dir
	if digest == "" {
		i.Index, err = dir.Index()
	}
	return i, err
}

// newScript returns the definition's script. It runs in another folder than
// we do, so its paths have to be absolute.
func newScript(c Config, f *spec.File, a arch.Arch, scratch string) (script.Source, error) {
	limit, err := f.Root.Script.TimeLimit()
	if err != nil {
		return script.Source{}, f.Bad("root.script.timeout", "%v", err)
	}
	paths := []string{f.ResolveFor(a, f.Root.Script.Path), f.Dir, filepath.Join(scratch, "script")}
	for i := range paths {
		if paths[i], err = filepath.Abs(paths[i]); err != nil {
			return script.Source{}, fmt.Errorf("finding the script: %w", err)
		}
	}
	return script.Source{
		Path: paths[0], Dir: paths[1], Scratch: paths[2],
		Output: f.Root.Script.Output, Timeout: limit,
		Platform: f.Name, Arch: a, SearchPath: c.SearchPath, UID: c.UID, GID: c.GID,
		Log: func(line string) {
			c.Report(Event{Time: c.Now(), Stage: a.Name + "/unpack-root", State: Progress, Detail: line})
		},
	}, nil
}

// openArchive returns the definition's package archive, nil when it uses none.
func openArchive(c Config, f *spec.File, a arch.Arch) (Archive, error) {
	if f.PackageArchive() == nil {
		return nil, nil
	}
	return c.Archive(f, a)
}

// fetch downloads the packages, if there are any.
func (b *targetBuild) fetch(ctx context.Context) error {
	if b.archive == nil {
		return nil
	}
	return b.archive.Fetch(ctx, b.target.Packages.All(), b.config.fetchProgress(b.arch))
}

// dated is a source that knows when its content was made.
type dated interface {
	Created(ctx context.Context) (time.Time, error)
}

// rootDate returns when the definition's root was made, in seconds since 1970;
// 0 when its source doesn't tell.
func rootDate(ctx context.Context, c Config, f *spec.File, t Target) (int64, error) {
	a, err := arch.Lookup(t.Arch)
	if err != nil {
		return 0, err
	}
	_, root, err := newRootSource(c, f, a, "")
	if err != nil {
		return 0, err
	}
	d, ok := root.(dated)
	if !ok {
		return 0, nil
	}
	created, err := d.Created(ctx)
	return max(created.Unix(), 0), err
}

// baseImage returns the digest of the image that the root comes from, "" for
// other sources.
func (t Target) baseImage() string {
	if t.Root == nil || t.Root.Source != imageSource {
		return ""
	}
	return t.Root.Digest
}

// pinRoots records the state of the targets' sources.
func (p *Plan) pinRoots(ctx context.Context, c Config, f *spec.File) error {
	for i := range p.Targets {
		a, err := arch.Lookup(p.Targets[i].Arch)
		if err != nil {
			return err
		}
		if p.Targets[i].Root, err = readPin(ctx, c, f, a, p.Epoch); err != nil {
			return err
		}
	}
	return nil
}

// pinRoot returns the state of an architecture's source, nil for packages. No
// file of it is taken for newer than epoch, in seconds since 1970.
func pinRoot(ctx context.Context, c Config, f *spec.File, a arch.Arch, epoch int64) (*RootPin, error) {
	pin, err := readPin(ctx, c, f, a, epoch)
	return pin.written(), err
}

// readPin is pinRoot, and keeps what was read.
func readPin(ctx context.Context, c Config, f *spec.File, a arch.Arch, epoch int64) (*RootPin, error) {
	name, root, err := newRootSource(c, f, a, "")
	if err != nil || root == nil {
		return nil, err
	}
	pin := &RootPin{Source: name}
	if l, ok := root.(loader); ok {
		var t *tree.Tree
		if t, err = l.Load(ctx, c.Store, epoch); err == nil {
			pin.Digest, pin.read = "sha256:"+source.Digest(t), t.Encode()
		}
	} else {
		pin.Digest, err = root.Pin(ctx, c.Store, epoch)
	}
	if err != nil {
		return nil, fault.Default(fault.Input, fmt.Errorf("planning the root of %s: %w", a.Name, err))
	}
	return pin, nil
}

// readRoot reads the root from its source. The kernel's packages, whose modules
// are in the root, are unpacked over any other source.
func (b *targetBuild) readRoot(ctx context.Context) (*tree.Tree, error) {
	if b.root == nil {
		t := tree.New(b.plan.Epoch)
		if err := b.archive.UnpackRoot(ctx, t, b.config.Store, b.target.Packages.Root, b.plan.Epoch); err != nil {
			return nil, err
		}
		return t, b.addKernelModules(ctx, t)
	}
	t, err := b.readSource(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range b.target.Packages.kernelInRoot() {
		if err := b.archive.UnpackInto(ctx, t, b.config.Store, p); err != nil {
			return nil, err
		}
	}
	return t, b.addKernelModules(ctx, t)
}

// readSource returns the root as it was planned. What was read for the plan is
// read again only when the store has lost some of it.
func (b *targetBuild) readSource(ctx context.Context) (*tree.Tree, error) {
	pin := b.target.Root
	if pin.read != nil {
		t, err := tree.Decode(pin.read)
		if err == nil {
			err = treeKeeper{b.config.Store}.check(ctx, nil, nil, t)
		}
		if err == nil || ctx.Err() != nil {
			return t, err
		}
	}
	return b.root.Read(ctx, b.config.Store, b.plan.Epoch, pin.Digest)
}

// findStub returns systemd's EFI stub: the root's own, which fits its systemd,
// or that of the package archive.
func (b *targetBuild) findStub(boot, root *tree.Tree) (*tree.Node, error) {
	for _, t := range []*tree.Tree{root, boot} {
		if n, err := t.Resolve(b.arch.EFIStub); err == nil && n.Inode.IsRegular() {
			return n, nil
		}
	}
	return nil, fault.Inputf("finding systemd's EFI stub: the root has no /%s", b.arch.EFIStub).
		WithFix("install the package %s in the root, or name an archive that has it with kernel.suite", stubPackage)
}
