package builder

import (
	"context"
	"fmt"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/spec"
)

// fetcher is a root source that can bring its content into the cache.
type fetcher interface {
	// Fetch makes sure that Read needs no network for what a pin stands for.
	Fetch(ctx context.Context, pin string) error
}

// FetchLocked brings everything that a lock names into the cache, after which a
// locked build needs no network.
func FetchLocked(ctx context.Context, c Config, f *spec.File, l *Lock) (err error) {
	defer func() { err = explain(ctx, err) }()
	for _, t := range l.Targets {
		if err := fetchTarget(ctx, c, f, t); err != nil {
			return fmt.Errorf("fetching what is locked for %s: %w", t.Arch, err)
		}
	}
	return nil
}

func fetchTarget(ctx context.Context, c Config, f *spec.File, t LockedTarget) error {
	a, err := arch.Lookup(t.Arch)
	if err != nil {
		return err
	}
	archive, err := openArchive(c, f, a)
	if err != nil {
		return err
	}
	if archive != nil {
		if err := archive.Fetch(ctx, t.Packages.All(), c.fetchProgress(a)); err != nil {
			return err
		}
	}
	_, root, err := newRootSource(c, f, a, "")
	if err != nil {
		return err
	}
	if r, ok := root.(fetcher); ok {
		return r.Fetch(ctx, t.Root.Digest)
	}
	return nil
}
