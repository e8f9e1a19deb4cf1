package apt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/control"
)

// keep holds the packages of an earlier answer, by name. Where one of them will
// do, it is chosen before its newer versions, and before other packages that
// would meet the same dependency. One that stands in the way of another
// package is let go, and the choice begins anew; one that the archive no longer
// has, and that is needed, is an error.
type keep map[string]Package

func newKeep(packages []Package) keep {
	k := keep{}
	for _, p := range packages {
		k[p.Name] = p
	}
	return k
}

// has tells whether an entry is a package to keep.
func (k keep) has(e *entry) bool {
	p, ok := k[e.name]
	return ok && p.SHA256 == e.sha256
}

// first returns the entries with those to keep in front.
func (k keep) first(all []*entry) []*entry {
	if len(k) == 0 {
		return all
	}
	kept, others := make([]*entry, 0, len(all)), []*entry(nil)
	for _, e := range all {
		if k.has(e) {
			kept = append(kept, e)
		} else {
			others = append(others, e)
		}
	}
	return append(kept, others...)
}

// stuckError says which package has to be let go.
type stuckError struct{ name string }

func (e *stuckError) Error() string { return fmt.Sprintf("package %q can't be kept", e.name) }

// stuckOn returns the error that lets the first of the chosen entries go that is
// kept and has another version, or nil.
func (r *resolver) stuckOn(entries ...*entry) error {
	for _, e := range entries {
		if r.keep.has(e) && len(r.ix.versions(e.name)) > 1 {
			return &stuckError{e.name}
		}
	}
	return nil
}

// unstick returns the error that lets a kept package go whose other versions
// would meet the group, or else err.
func (r *resolver) unstick(group []control.Relation, err error) error {
	for _, rel := range group {
		e := r.chosen[rel.Name]
		if e == nil || !r.keep.has(e) {
			continue
		}
		if slices.ContainsFunc(r.ix.versions(rel.Name), func(o *entry) bool { return rel.Accepts(o.version) }) {
			return &stuckError{rel.Name}
		}
	}
	return err
}

// checkKept reports the packages to keep that were chosen in another version
// because the archive no longer has them.
func (r *resolver) checkKept() error {
	var gone, names []string
	for _, e := range r.queue {
		p, ok := r.keep[e.name]
		if ok && !slices.ContainsFunc(r.ix.versions(e.name), r.keep.has) {
			gone = append(gone, fmt.Sprintf("%s %s (it has %s)", p.Name, p.Version, e.version))
			names = append(names, e.name)
		}
	}
	if gone == nil {
		return nil
	}
	slices.Sort(gone)
	slices.Sort(names)
	return fault.Inputf("keeping the packages of %s for %s: the archive no longer has %s", r.suite, r.arch, strings.Join(gone, ", ")).
		WithFix("update these as well: %s", strings.Join(names, " "))
}
