package apt

import (
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/control"
)

// resolver chooses packages. The rules, which make the choice deterministic:
//
//   - The packages asked for are chosen first, each in its newest version that
//     meets what was asked; then those that are essential or have a priority
//     that was asked for, by name.
//   - Dependencies are taken up in the order in which packages were chosen,
//     Pre-Depends before Depends, in the order of the field.
//   - A dependency that a chosen package meets adds nothing.
//   - Else its first alternative that can be had is taken: the newest package
//     of that name that fits, else the provider with the highest priority, by
//     name among equals. Packages that conflict with a chosen one are passed
//     over where there is a choice.
//   - There is no going back: a conflict that remains is an error.
//
// Packages to keep come before all others that would do (see keep).
type resolver struct {
	ix     *index
	arch   string
	suite  string // describes the suites
	follow Follow
	chosen map[string]*entry
	queue  []*entry // the chosen, in order
	facts  map[*entry]*facts
	// provided lists what the chosen packages provide.
	provided map[string][]provider
	keep     keep
}

// resolve returns the packages for a request, sorted by name.
func (a *Archive) resolve(ix *index, suites string, req Request) ([]Package, error) {
	kept := newKeep(req.Keep)
	for {
		packages, err := a.resolveKeeping(ix, suites, req, kept)
		var stuck *stuckError
		if !errors.As(err, &stuck) {
			return packages, err
		}
		delete(kept, stuck.name)
	}
}

// resolveKeeping returns the packages for a request, or a stuckError.
func (a *Archive) resolveKeeping(ix *index, suites string, req Request, kept keep) ([]Package, error) {
	r := &resolver{
		ix: ix, arch: a.Arch.Name, suite: suites, follow: req.Follow, keep: kept,
		chosen: map[string]*entry{}, facts: map[*entry]*facts{}, provided: map[string][]provider{},
	}
	for _, name := range req.Names {
		if err := r.ask(name); err != nil {
			return nil, &AskedError{name, err}
		}
	}
	for _, e := range ix.base(req) {
		if r.chosen[e.name] != nil {
			continue // in the version that was asked for
		}
		if err := r.choose(r.keep.first(ix.versions(e.name))[0]); err != nil {
			return nil, err
		}
	}
	for i := 0; i < len(r.queue) && !req.Follow.None; i++ { // the queue grows
		if err := r.followAll(r.queue[i]); err != nil {
			return nil, err
		}
	}
	if err := r.checkExclusions(); err != nil {
		return nil, err
	}
	if err := r.checkKept(); err != nil {
		return nil, err
	}
	if err := r.checkCycles(); err != nil {
		return nil, err
	}
	packages := make([]Package, 0, len(r.queue))
	for _, e := range r.queue {
		p, err := e.pkg()
		if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return packages, nil
}

// base returns the packages, each in its newest version, that a request takes
// for what they are, not by name.
func (ix *index) base(req Request) []*entry {
	if !req.Essential && len(req.Priorities) == 0 {
		return nil
	}
	var all []*entry
	for name := range ix.byName {
		e := ix.versions(name)[0]
		if req.Essential && e.essential == "yes" || slices.Contains(req.Priorities, e.priority) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	return all
}

// ask chooses a package that the request names: "name" or "name=version".
func (r *resolver) ask(name string) error {
	rel := control.Relation{Name: name}
	if n, v, ok := strings.Cut(name, "="); ok {
		rel = control.Relation{Name: n, Op: "=", Version: v}
	}
	for _, e := range r.keep.first(r.ix.versions(rel.Name)) {
		if rel.Accepts(e.version) {
			return r.choose(e)
		}
	}
	if r.ix.byName[rel.Name] == nil {
		if ps := r.ix.providersOf(rel.Name, r); len(ps) == 1 && rel.Op == "" {
			return r.choose(ps[0].entry)
		}
	}
	return r.unknown(rel)
}

// choose takes a package; one of another version may have been taken before.
func (r *resolver) choose(e *entry) error {
	if old := r.chosen[e.name]; old != nil {
		if old == e {
			return nil
		}
		return fault.Inputf("choosing package %q: both version %q and version %q are asked for", e.name, old.version, e.version)
	}
	f, err := r.factsOf(e)
	if err != nil {
		return err
	}
	r.chosen[e.name] = e
	r.queue = append(r.queue, e)
	for _, p := range f.provides {
		r.provided[p.Name] = append(r.provided[p.Name], provider{e, p.Version})
	}
	return nil
}

// followAll meets the dependencies of a chosen package.
func (r *resolver) followAll(e *entry) error {
	f, err := r.factsOf(e)
	if err != nil {
		return err
	}
	for _, group := range f.depends {
		group = r.followed(group)
		if len(group) == 0 || slices.ContainsFunc(group, r.met) {
			continue
		}
		c, err := r.candidate(group)
		if err != nil {
			return err
		}
		if c == nil {
			return r.unstick(group, r.unmet(e, group))
		}
		if err := r.choose(c); err != nil {
			return err
		}
	}
	return nil
}

// followed returns the alternatives that the request lets us follow.
func (r *resolver) followed(group []control.Relation) []control.Relation {
	var kept []control.Relation
	for _, rel := range group {
		foreign := rel.Arch != "" && rel.Arch != "any" && rel.Arch != "native" && rel.Arch != r.arch
		if strings.HasPrefix(rel.Name, r.follow.Prefix) && !foreign {
			kept = append(kept, rel)
		}
	}
	if len(kept) == 0 && r.follow.Prefix == "" {
		return group // all foreign: can't be met, and must be reported
	}
	return kept
}

// met tells whether a chosen package meets a relation.
func (r *resolver) met(rel control.Relation) bool {
	for range r.meeting(rel) {
		return true
	}
	return false
}

// meeting returns the chosen packages that meet a relation.
func (r *resolver) meeting(rel control.Relation) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		if e := r.chosen[rel.Name]; e != nil && rel.Accepts(e.version) && !yield(e) {
			return
		}
		for _, p := range r.provided[rel.Name] {
			if p.meets(rel) && !yield(p.entry) {
				return
			}
		}
	}
}

// candidate returns the package to take for a group that isn't met, or nil.
// One that conflicts with a chosen package is only returned when there is no
// other, so that the conflict gets reported.
func (r *resolver) candidate(group []control.Relation) (*entry, error) {
	var all []*entry
	for _, rel := range group {
		if rel.Arch == "" || rel.Arch == "any" || rel.Arch == "native" || rel.Arch == r.arch {
			all = append(all, r.fitting(rel)...)
		}
	}
	var fallback *entry
	for _, e := range r.keep.first(all) {
		if r.chosen[e.name] != nil {
			continue // in another version, which doesn't meet it
		}
		clash, err := r.clashes(e)
		if err != nil {
			return nil, err
		}
		if !clash {
			return e, nil
		}
		if fallback == nil {
			fallback = e
		}
	}
	return fallback, nil
}

// fitting returns the packages that meet a relation, the best first.
func (r *resolver) fitting(rel control.Relation) []*entry {
	var all []*entry
	for _, e := range r.ix.versions(rel.Name) {
		if rel.Accepts(e.version) {
			all = append(all, e)
		}
	}
	for _, p := range r.ix.providersOf(rel.Name, r) {
		if p.meets(rel) {
			all = append(all, p.entry)
		}
	}
	return all
}
