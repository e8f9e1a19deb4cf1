package apt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/control"
	"github.com/powernode/bootsmith/builder/source/deb"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

const (
	// maxListing bounds a cached listing, in bytes.
	maxListing = 1 << 30
	// largePackage is the size, in bytes, from which a package's archive is
	// decompressed on several cores.
	largePackage = 8 << 20
)

// DefaultLimits bounds a package; today's largest have 100,000 entries and 6 GB.
func DefaultLimits() source.Limits { return source.Limits{Entries: 1 << 20, Bytes: 64 << 30} }

func (a *Archive) limits() source.Limits {
	if a.Limits == (source.Limits{}) {
		return DefaultLimits()
	}
	return a.Limits
}

// UnpackInto lays a package into a tree as dpkg unpacks it, its contents into
// s. The package is downloaded when the cache doesn't have it.
func (a *Archive) UnpackInto(ctx context.Context, t *tree.Tree, s *store.Store, pkg Package) error {
	p, err := a.Unpack(ctx, s, pkg)
	if err != nil {
		return err
	}
	if err := p.Apply(t, nil); err != nil {
		return fmt.Errorf("unpacking package %q: %w", pkg.Name, err)
	}
	return nil
}

// Unpack returns what is in a package, its contents in s. A package that was
// unpacked before, and whose contents s still has, is neither downloaded nor
// decompressed again: its listing is cached under the .deb file's digest. The
// result may be shared, and must not be changed.
func (a *Archive) Unpack(ctx context.Context, s *store.Store, pkg Package) (*deb.Package, error) {
	if err := pkg.Check(); err != nil {
		return nil, fault.Default(fault.Input, err)
	}
	if a.Joint == nil {
		return a.unpack(ctx, s, pkg)
	}
	p, err, _ := a.Joint.Do(fmt.Sprintf("unpack %p %q %v", s, a.CacheDir, pkg), func() (any, error) { return a.unpack(ctx, s, pkg) })
	if err != nil {
		return nil, err
	}
	return p.(*deb.Package), nil
}

func (a *Archive) unpack(ctx context.Context, s *store.Store, pkg Package) (*deb.Package, error) {
	if p := a.cachedListing(s, pkg); p != nil {
		return p, nil
	}
	f, err := a.Open(ctx, pkg)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	workers := 1
	if pkg.Size >= largePackage {
		workers = a.cores()
	}
	p, err := deb.Read(ctx, f, s, workers, a.limits())
	if err == nil {
		err = pkg.matches(p)
	}
	if err == nil {
		err = writeFile(a.listingFile(pkg), p.Marshal())
	}
	if errors.Is(err, source.ErrLimits) {
		return nil, source.Explain(fault.Input, fmt.Errorf("unpacking package %q: %w", pkg.Name, err), "")
	}
	if err != nil {
		return nil, fmt.Errorf("unpacking package %q: %w", pkg.Name, err)
	}
	return p, nil
}

// Open opens a package's .deb file after comparing all its bytes with the
// digest. It is downloaded when the cache doesn't have it.
func (a *Archive) Open(ctx context.Context, pkg Package) (*os.File, error) {
	if err := pkg.Check(); err != nil {
		return nil, fault.Default(fault.Input, err)
	}
	from, err := a.repository(pkg.Repository)
	if err != nil {
		return nil, err
	}
	f, err := from.open(ctx, pkg.blob(), pkg.PoolPath)
	return f, packageError(pkg, err)
}

// cores is how many packages, or blocks of one, are decompressed at a time.
func (a *Archive) cores() int { return min(a.jobs(), runtime.GOMAXPROCS(0)) }

// matches returns an error when the file is another package than its index
// says.
func (p Package) matches(d *deb.Package) error {
	got := [3]string{d.Field("Package"), d.Field("Version"), d.Field("Architecture")}
	if want := [3]string{p.Name, p.Version, p.Arch}; got != want {
		return fmt.Errorf("the file holds %q where the index says %q", got, want)
	}
	return nil
}

func (a *Archive) listingFile(p Package) string {
	return filepath.Join(a.CacheDir, "unpacked", fmt.Sprintf("v%d", deb.ListingVersion), p.SHA256[:2], p.SHA256[2:])
}

// cachedListing returns a usable listing, or nil.
func (a *Archive) cachedListing(s *store.Store, pkg Package) *deb.Package {
	data, err := readBounded(a.listingFile(pkg), maxListing)
	if err != nil {
		return nil
	}
	p, err := deb.Unmarshal(data)
	if err != nil || pkg.matches(p) != nil || !p.Fits(a.limits()) || !p.Stored(s) {
		return nil
	}
	return p
}

// UnpackAll does what Unpack does for several packages at a time, and returns
// the results in the same order.
func (a *Archive) UnpackAll(ctx context.Context, s *store.Store, packages []Package) ([]*deb.Package, error) {
	all := make([]*deb.Package, len(packages))
	order := make([]int, len(packages))
	for i := range order {
		order[i] = i
	}
	// The largest first, so that none is left to the end alone.
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(packages[j].Size, packages[i].Size) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(a.cores())
	for _, i := range order {
		group.Go(func() (err error) {
			all[i], err = a.Unpack(ctx, s, packages[i])
			return err
		})
	}
	return all, group.Wait()
}

// UnpackRoot lays packages into a tree, with dpkg's database of them, whose
// files get the modification time mtime (seconds since 1970).
//
// base-files comes first, as its directories and symlinks (/bin to usr/bin) are
// what the others build on; then they go by name. Two packages may ship the
// same file only where one says that it replaces the other's. Where packages of an older
// release still ship /bin, /sbin and /lib*, these become symlinks into /usr.
func (a *Archive) UnpackRoot(ctx context.Context, t *tree.Tree, s *store.Store, packages []Package, mtime int64) error {
	sorted := slices.Clone(packages)
	slices.SortStableFunc(sorted, func(x, y Package) int { return strings.Compare(x.unpackRank(), y.unpackRank()) })
	unpacked, err := a.UnpackAll(ctx, s, sorted)
	if err != nil {
		return err
	}
	if err := mergeUsr(t, unpacked, mtime); err != nil {
		return err
	}
	o := owners{tree: t, byPath: map[string]*deb.Package{}}
	for _, p := range unpacked {
		if err := p.Apply(t, func(e deb.Entry) (bool, error) { return o.take(p, e) }); err != nil {
			return fmt.Errorf("unpacking package %q: %w", p.Field("Package"), err)
		}
	}
	return deb.WriteDatabase(t, s, unpacked, mtime)
}

// unpackRank is what packages are sorted by for unpacking.
func (p Package) unpackRank() string {
	if p.Name == "base-files" {
		return ""
	}
	return p.Name
}

// owners remembers which package a file is from.
type owners struct {
	tree   *tree.Tree
	byPath map[string]*deb.Package
}

// take tells whether a package's entry is to be unpacked.
func (o *owners) take(p *deb.Package, e deb.Entry) (bool, error) {
	if e.Link == "" && e.Inode.IsDir() {
		return true, nil
	}
	path := o.canonical(e.Path)
	before := o.byPath[path]
	switch {
	case before == nil || before == p:
	case replaces(p, before):
	case replaces(before, p):
		return false, nil
	case e.Inode.IsSymlink():
		if n, err := o.tree.Resolve(path); err == nil && n.Inode.IsDir() {
			return true, nil // stays, as it leads to a directory
		}
		fallthrough
	default:
		return false, fault.Buildf("package %q ships %q as well, and neither replaces the other's", before.Field("Package"), "/"+e.Path).
			WithFix("leave one of the two packages out")
	}
	o.byPath[path] = p
	return true, nil
}

// canonical follows a symlink in the first element of a path: /lib to usr/lib.
func (o *owners) canonical(path string) string {
	first, rest, ok := strings.Cut(path, "/")
	if n := o.tree.Root.Child(first); ok && n != nil && n.Inode.IsSymlink() {
		return strings.Trim(n.Inode.Target, "/") + "/" + rest
	}
	return path
}

// replaces tells whether a may overwrite files of b (Debian Policy 7.6.1).
func replaces(a, b *deb.Package) bool {
	groups, err := control.ParseRelations(a.Field("Replaces"))
	if err != nil {
		return false
	}
	for _, g := range groups {
		for _, rel := range g {
			if rel.Name == b.Field("Package") && rel.Accepts(b.Field("Version")) {
				return true
			}
		}
	}
	return false
}
