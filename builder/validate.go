package builder

import (
	"context"
	"fmt"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/spec"
)

// Validate checks what can be checked of a request without a network: that its
// families can be built, and that files, folders and other sources on this host
// are there and can be read. Their contents go into the store.
func Validate(ctx context.Context, c Config, r Request) (err error) {
	defer func() { err = explain(ctx, err) }()
	p := &Plan{}
	if p.Families, err = pickFamilies(r); err != nil {
		return err
	}
	if _, err := newPersist(r.File); err != nil {
		return err
	}
	if err := p.addOverlays(ctx, c, r.File); err != nil {
		return err
	}
	if err := p.addBoot(ctx, c, r.File); err != nil {
		return err
	}
	if err := r.File.CheckKeyrings(); err != nil {
		return err
	}
	for _, name := range r.architectures() {
		if err := validateSources(ctx, c, r.File, name); err != nil {
			return fmt.Errorf("reading the sources for %s: %w", name, err)
		}
	}
	return nil
}

// validateSources reads an architecture's sources, except an image that is in a
// registry.
func validateSources(ctx context.Context, c Config, f *spec.File, name string) error {
	a, err := arch.Lookup(name)
	if err != nil {
		return err
	}
	if _, err := pinKernel(ctx, c, f, a, 0); err != nil {
		return err
	}
	if isRemote(f) {
		return nil
	}
	_, err = pinRoot(ctx, c, f, a, 0)
	return err
}

// CheckLock returns a Drift when a request's lock doesn't fit any more. An image
// in a registry is what its digest says, and isn't looked at.
func CheckLock(ctx context.Context, c Config, r Request) error {
	causes := r.Lock.drift(r.File, r.architectures())
	for _, name := range r.architectures() {
		locked := r.Lock.target(name)
		a, err := arch.Lookup(name)
		if err != nil {
			return err
		}
		if locked == nil {
			continue
		}
		now := LockedTarget{Arch: name}
		if !isRemote(r.File) {
			if now.Root, err = pinRoot(ctx, c, r.File, a, 0); err != nil {
				return err
			}
		}
		if now.KernelDigest, err = pinKernel(ctx, c, r.File, a, 0); err != nil {
			return err
		}
		causes = append(causes, locked.sourceDrift(r.File, now)...)
	}
	if causes != nil {
		return (&Drift{Path: LockPath(r.File), Causes: causes}).fault()
	}
	return nil
}

// isRemote tells whether the root is in a registry.
func isRemote(f *spec.File) bool {
	if f.Root.Image == nil {
		return false
	}
	layout, _, _ := f.Root.Image.Split()
	return layout == ""
}
