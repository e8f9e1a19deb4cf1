// Package sbom names what is inside a root: one SPDX 2.3 and one CycloneDX 1.6
// document in JSON, with every Debian package, its version and its package URL.
//
// Syft's catalogers read the tree itself, through the object store; nothing is
// unpacked, and no symlink can lead them to the build host's files. Both
// documents depend on the tree and the given description alone: time stamps
// are the build epoch, and serial numbers are made from the content. Only the
// Debian cataloger and the SPDX model of syft are linked, since the whole of
// syft costs minutes of build time.
package sbom

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/anchore/packageurl-go"
	"github.com/anchore/syft/syft/linux"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/pkg/cataloger/debian"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Subject describes what the documents are about.
type Subject struct {
	// Name and Version are the platform's name and its commit.
	Name, Version string
	Arch          string
	// Tool is the version of bootsmith.
	Tool string
	// Epoch is the documents' time stamp.
	Epoch time.Time
	// Beside are packages that are shipped beside the root: the kernel and the
	// EFI stub.
	Beside []Package
}

// Package is a Debian package.
type Package struct{ Name, Version, Arch string }

// Write catalogs t and writes both documents.
func Write(ctx context.Context, t *tree.Tree, s *store.Store, subject Subject, spdx, cycloneDX io.Writer) error {
	packages, release, err := catalog(ctx, t, s, subject)
	if err != nil {
		return fmt.Errorf("cataloging the root: %w", err)
	}
	if err := writeSPDX(spdx, subject, packages, release); err != nil {
		return fmt.Errorf("writing the SPDX document: %w", err)
	}
	if err := writeCycloneDX(cycloneDX, subject, packages); err != nil {
		return fmt.Errorf("writing the CycloneDX document: %w", err)
	}
	return nil
}

// catalog returns the packages in the order of name, version, architecture.
func catalog(ctx context.Context, t *tree.Tree, s *store.Store, subject Subject) ([]pkg.Package, *linux.Release, error) {
	r, err := newResolver(t, s)
	if err != nil {
		return nil, nil, err
	}
	packages, _, err := debian.NewDBCataloger().Catalog(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	release := linux.IdentifyRelease(r)
	for _, p := range subject.Beside {
		packages = append(packages, beside(p, release))
	}
	slices.SortFunc(packages, func(a, b pkg.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Version+"\x00"+a.PURL, b.Name+"\x00"+b.Version+"\x00"+b.PURL)
	})
	return packages, release, nil
}

func beside(p Package, release *linux.Release) pkg.Package {
	namespace := "debian"
	qualifiers := map[string]string{pkg.PURLQualifierArch: p.Arch}
	if release != nil && release.ID != "" {
		namespace = release.ID
	}
	out := pkg.Package{
		Name:     p.Name,
		Version:  p.Version,
		Type:     pkg.DebPkg,
		PURL:     packageurl.NewPackageURL(packageurl.TypeDebian, namespace, p.Name, p.Version, pkg.PURLQualifiers(qualifiers, release), "").ToString(),
		Metadata: pkg.DpkgDBEntry{Package: p.Name, Version: p.Version, Architecture: p.Arch},
	}
	out.SetID()
	return out
}
