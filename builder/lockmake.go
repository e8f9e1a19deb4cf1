package builder

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/spec"
)

// Update says what a new lock takes anew, and not from the old one.
type Update struct {
	// All looks everything up again; Names only packages of these names, and
	// what these then need.
	All   bool
	Names []string
	// AllowDowngrade accepts releases that are older than the old lock's.
	AllowDowngrade bool
}

// NewLock locks what a definition asks for, for all its architectures. What is
// in the old lock, which may be nil, stays as it is, as far as it still does and
// the update doesn't say otherwise: an old lock that fits is no reason to look
// at the archive. Errors of a user's making, a package that would stay and is
// gone from the archive among them, are of class fault.Input.
func NewLock(ctx context.Context, c Config, f *spec.File, old *Lock, u Update) (_ *Lock, err error) {
	defer func() { err = explain(ctx, err) }()
	if err := u.check(old); err != nil {
		return nil, err
	}
	l := &Lock{FormatVersion: lockVersion, Asked: askedOf(f), Targets: make([]LockedTarget, len(f.Architectures))}
	if u.All {
		u.Names = nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range f.Architectures {
		g.Go(func() (err error) {
			l.Targets[i], err = lockTarget(ctx, c, f, old, u, name)
			return err
		})
	}
	return l, g.Wait()
}

// check makes sure that there is something to update.
func (u Update) check(old *Lock) error {
	if len(u.Names) > 0 && old == nil {
		return fault.Inputf("updating %s: nothing is locked yet", strings.Join(u.Names, ", ")).WithFix("run bootsmith lock")
	}
	known := map[string]bool{}
	if old != nil {
		for _, t := range old.Targets {
			for _, p := range t.Packages.All() {
				known[p.Name] = true
			}
		}
	}
	for _, name := range u.Names {
		if !known[name] {
			return fault.Inputf("updating %q: no such package is locked", name).
				WithFix("did you mean %q?", spec.Nearest(name, slices.Sorted(maps.Keys(known))))
		}
	}
	return nil
}

func lockTarget(ctx context.Context, c Config, f *spec.File, old *Lock, u Update, name string) (LockedTarget, error) {
	a, err := arch.Lookup(name)
	if err != nil {
		return LockedTarget{}, err
	}
	t := LockedTarget{Arch: name}
	if t.Packages, err = lockPackages(ctx, c, f, old, u, a); err != nil {
		return t, fmt.Errorf("locking the packages of %s: %w", f.Path, err)
	}
	if t.Root, err = pinRoot(ctx, c, f, a, 0); err != nil {
		return t, err
	}
	t.KernelDigest, err = pinKernel(ctx, c, f, a, 0)
	return t, err
}

// lockPackages returns the old lock's packages when they still are what is
// asked for, else new ones that differ from them as little as the update says.
func lockPackages(ctx context.Context, c Config, f *spec.File, old *Lock, u Update, a arch.Arch) (Packages, error) {
	before := old.target(a.Name)
	if before != nil && !u.All && len(u.Names) == 0 && reflect.DeepEqual(old.Asked, askedOf(f)) {
		return before.Packages, nil
	}
	archive, err := openArchive(c, f, a)
	if err != nil || archive == nil {
		return Packages{}, err
	}
	var keep []apt.Package
	if before != nil && !u.All && before.Packages.Suite == f.PackageArchive().Suite {
		keep = before.kept(u.Names)
	}
	found, err := resolve(ctx, archive, f, a, keep)
	if err == nil && before != nil && !u.AllowDowngrade {
		err = checkDowngrade(before.Packages, found)
	}
	return found, err
}

// checkDowngrade refuses suites whose release is older than the one that was
// locked: an attacker in the network's way, or a mirror that stands still, can
// show an old one, whose signature is as good as ever.
func checkDowngrade(locked, found Packages) error {
	releases := func(p Packages) []apt.Release {
		return slices.Concat([]apt.Release{{Suite: p.Suite, Date: p.ReleaseDate}}, p.Repositories)
	}
	for i, now := range releases(found) {
		before := releases(locked)
		if i >= len(before) || before[i].Suite != now.Suite || !now.Date.Before(before[i].Date) {
			continue
		}
		return fault.Inputf("reading suite %q: its release is dated %s, and that of the lock %s", now.Suite, now.Date.UTC().Format(time.RFC3339), before[i].Date.UTC().Format(time.RFC3339)).
			WithFix("choose a mirror that is up to date, or accept the older one with bootsmith lock --update --allow-downgrade")
	}
	return nil
}
