package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/spec"
)

// Packages are what a target takes from the archive.
type Packages struct {
	Suite string `json:"suite"`
	// ReleaseDate and ReleaseSHA256 are the release file's own date and digest.
	ReleaseDate   time.Time `json:"release_date"`
	ReleaseSHA256 string    `json:"release_sha256"`
	// Repositories are the states of the archive's further suites.
	Repositories []apt.Release `json:"repositories,omitempty"`
	// Root become the root, the kernel among them when its modules are kept
	// there. Kernel and Stub are unpacked for what boots.
	Root   []apt.Package `json:"root"`
	Kernel []apt.Package `json:"kernel"`
	Stub   []apt.Package `json:"stub"`
}

// Boot returns the packages that are unpacked for what boots.
func (p Packages) Boot() []apt.Package { return slices.Concat(p.Kernel, p.Stub) }

// Beside returns the packages that are no part of the root.
func (p Packages) Beside() []apt.Package { return without(p.Boot(), p.Root) }

// All returns all packages, each once.
func (p Packages) All() []apt.Package { return slices.Concat(p.Root, p.Beside()) }

// snapshot returns the release's date (RFC 3339), "" without packages.
func (p Packages) snapshot() string {
	if p.ReleaseDate.IsZero() {
		return ""
	}
	return p.ReleaseDate.UTC().Format(time.RFC3339)
}

// newest returns the date of the newest release.
func (p Packages) newest() time.Time {
	date := p.ReleaseDate
	for _, r := range p.Repositories {
		if r.Date.After(date) {
			date = r.Date
		}
	}
	return date
}

// without returns the packages of a list that aren't in another.
func without(list, other []apt.Package) []apt.Package {
	var rest []apt.Package
	for _, p := range list {
		if !slices.ContainsFunc(other, func(o apt.Package) bool { return o.SHA256 == p.SHA256 }) {
			rest = append(rest, p)
		}
	}
	return rest
}

// stubPackage holds systemd's EFI stub, the frame of a unified kernel image.
const stubPackage = "systemd-boot-efi"

// unresolved adds the definition's file to an error, and the field that asks for
// a package that can't be had.
func unresolved(f *spec.File, a arch.Arch, err error) error {
	var asked *apt.AskedError
	if errors.As(err, &asked) && fault.ClassOf(err) == fault.Input {
		for i, name := range f.PackageArchive().Include {
			if f.Expand(name, a) == asked.Name {
				return f.Bad(fmt.Sprintf("%s.include[%d]", f.ArchiveField(), i), "%v", err)
			}
		}
		if f.Expand(f.Kernel.Package, a) == asked.Name {
			return f.Bad("kernel.package", "%v", err)
		}
	}
	return fmt.Errorf("resolving the packages of %s: %w", f.Path, err)
}

// resolve picks the packages of a definition; those of keep stay as they are,
// where they do.
func resolve(ctx context.Context, archive Archive, f *spec.File, a arch.Arch, keep []apt.Package) (Packages, error) {
	var kernel []string
	root := baseRequest(f)
	root.Keep = keep
	for _, name := range f.PackageArchive().Include {
		root.Names = append(root.Names, f.Expand(name, a))
	}
	if f.Kernel.Package != "" {
		kernel = []string{f.Expand(f.Kernel.Package, a)}
	}
	found, err := archive.ResolveEach(ctx, []apt.Request{
		root,
		// A kernel's meta package leads to the kernel and to tools that
		// install it; only the kernel is wanted.
		{Names: kernel, Follow: apt.Follow{Prefix: "linux-image-"}, Keep: keep},
		{Names: []string{stubPackage}, Follow: apt.Follow{None: true}, Keep: keep},
	})
	if err != nil {
		return Packages{}, unresolved(f, a, err)
	}
	first := found[0]
	if f.Kernel.Modules == spec.ModulesInRoot {
		first.Packages = slices.Concat(first.Packages, without(found[1].Packages, first.Packages))
	}
	return Packages{
		Suite: first.Suite, ReleaseDate: first.ReleaseDate, ReleaseSHA256: first.ReleaseSHA256, Repositories: first.Repositories,
		Root: first.Packages, Kernel: found[1].Packages, Stub: found[2].Packages,
	}, nil
}
