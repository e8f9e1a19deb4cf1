package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/initramfs"
	"github.com/powernode/bootsmith/builder/overlay"
	"github.com/powernode/bootsmith/builder/spec"
)

// Request is what a command line adds to a definition.
type Request struct {
	File *spec.File
	// Architectures and Families replace the definition's when not empty.
	Architectures, Families []string
	// Revision replaces the commit of the definition's repository.
	Revision string
	// SourceDateEpoch is the variable's value; "" when unset.
	SourceDateEpoch string
	// Lock gives the packages; nil: they are looked up.
	Lock *Lock
	// Locked makes a lock that doesn't fit an error, a Drift. Otherwise it is
	// reported, and the packages are looked up.
	Locked bool
}

// NewPlan resolves a request: it loads the overlays and takes the packages from
// the lock, or picks them from the verified index. An interrupted plan says so,
// like an interrupted run.
func NewPlan(ctx context.Context, c Config, r Request) (_ *Plan, err error) {
	defer func() { err = explain(ctx, err) }()
	p, err := newPlan(ctx, c, r)
	var drift *Drift
	if r.Locked || !errors.As(err, &drift) {
		return p, err
	}
	c.Report(Event{Time: c.Now(), Stage: "lock", State: Progress, Detail: drift.Error() + "; looking everything up, until bootsmith lock is run"})
	old := r.Lock
	r.Lock = nil
	if p, err = newPlan(ctx, c, r); err != nil {
		return nil, err
	}
	for _, t := range p.Targets {
		if before := old.target(t.Arch); before != nil {
			if err := checkDowngrade(before.Packages, t.Packages); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func newPlan(ctx context.Context, c Config, r Request) (_ *Plan, err error) {
	p := &Plan{
		FormatVersion: FormatVersion, Version: Version, Platform: r.File.Name,
		DefinitionSHA256: r.File.SHA256, Permissions: r.File.Permissions, Users: r.File.Users, BaseURL: r.File.IPXE.BaseURL,
	}
	if l := r.Lock; l != nil {
		if causes := l.drift(r.File, r.architectures()); causes != nil {
			return nil, (&Drift{Path: LockPath(r.File), Causes: causes}).fault()
		}
		p.LockSHA256 = l.sha256
	}
	if p.DiskSize, err = r.File.Disk.Bytes(); err != nil {
		return nil, r.File.Bad("disk.size", "%v", err)
	}
	if p.Persist, err = newPersist(r.File); err != nil {
		return nil, err
	}
	if p.Families, err = pickFamilies(r); err != nil {
		return nil, err
	}
	if err = p.addOverlays(ctx, c, r.File); err != nil {
		return nil, err
	}
	if err = p.addBoot(ctx, c, r.File); err != nil {
		return nil, err
	}
	if err = p.addTargets(ctx, c, r); err != nil {
		return nil, err
	}
	commit, err := p.addEpoch(ctx, c, r)
	if err != nil {
		return nil, err
	}
	if err = p.pinRoots(ctx, c, r.File); err != nil {
		return nil, err
	}
	if err = p.pinKernels(ctx, c, r.File); err != nil {
		return nil, err
	}
	if err = p.checkSources(ctx, c, r); err != nil {
		return nil, err
	}
	return p, p.addRevision(ctx, c, commit, r)
}

func (p *Plan) addOverlays(ctx context.Context, c Config, f *spec.File) error {
	for _, x := range []struct {
		path   string
		digest *string
	}{{f.Files, &p.OverlayDigest}, {f.ESP, &p.ESPDigest}} {
		o, err := overlay.Load(ctx, f.Resolve(x.path), c.Store)
		if err != nil {
			return err
		}
		*x.digest = o.Digest()
	}
	return nil
}

// addTargets resolves the architectures side by side: each has an index of its
// own to read.
func (p *Plan) addTargets(ctx context.Context, c Config, r Request) error {
	names := r.architectures()
	p.Targets = make([]Target, len(names))
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { p.Targets[i], errs[i] = newTarget(ctx, c, r, name) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func newTarget(ctx context.Context, c Config, r Request, name string) (Target, error) {
	f := r.File
	a, err := arch.Lookup(name)
	if err != nil {
		return Target{}, fault.Inputf("%w", err)
	}
	init, err := initramfs.InitFor(a)
	if err != nil {
		return Target{}, err
	}
	sum := sha256.Sum256(init)
	t := Target{Arch: name, InitSHA256: hex.EncodeToString(sum[:])}
	for _, parameter := range f.Cmdline {
		t.Cmdline = append(t.Cmdline, f.Expand(parameter, a))
	}
	if p := f.Disk.Persist; p != nil {
		t.Cmdline = append(t.Cmdline, "bootsmith.persist="+p.Label)
	}
	if locked := r.Lock.target(name); locked != nil {
		t.Packages = locked.Packages
		return t, nil
	}
	archive, err := openArchive(c, f, a)
	if err != nil || archive == nil {
		return t, err
	}
	if t.Packages, err = resolve(ctx, archive, f, a, nil); err != nil {
		return Target{}, err
	}
	return t, nil
}
