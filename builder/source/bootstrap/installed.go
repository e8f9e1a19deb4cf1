package bootstrap

import (
	"fmt"
	"maps"
	"slices"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/control"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

const statusFile = "var/lib/dpkg/status"

// checkInstalled compares dpkg's database with the packages that the plan lists.
// Hooks may add and remove packages; those that the plan lists have its version
// nevertheless.
func checkInstalled(t *tree.Tree, s *store.Store, packages []apt.Package, hooks bool) error {
	n, err := t.Resolve(statusFile)
	if err != nil {
		return fault.Buildf("checking what mmdebstrap installed: %w", err)
	}
	r, err := s.Open(n.Inode.Content)
	if err != nil {
		return fmt.Errorf("checking what mmdebstrap installed: %w", err)
	}
	defer r.Close()
	stanzas, err := control.ReadStanzas(r)
	if err != nil {
		return fault.Buildf("reading %q: %w", statusFile, err)
	}
	planned := map[string]apt.Package{}
	for _, p := range packages {
		planned[p.Name] = p
	}
	for _, x := range stanzas {
		name, version, status := x.Get("Package"), x.Get("Version"), x.Get("Status")
		p, ok := planned[name]
		delete(planned, name)
		switch {
		case !ok && hooks:
		case !ok:
			return fault.Buildf("checking what mmdebstrap installed: %s %s is not in the plan", name, version)
		case p.Version != version || p.Arch != x.Get("Architecture"):
			return fault.Buildf("checking what mmdebstrap installed: %s is %s for %s, and the plan has %s for %s", name, version, x.Get("Architecture"), p.Version, p.Arch)
		case status != "install ok installed" && !hooks:
			return fault.Buildf("checking what mmdebstrap installed: the state of %s is %q", name, status)
		}
	}
	if missing := slices.Sorted(maps.Keys(planned)); len(missing) > 0 && !hooks {
		return fault.Buildf("checking what mmdebstrap installed: %q are missing", missing)
	}
	return nil
}
