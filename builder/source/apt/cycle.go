package apt

import (
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/control"
)

// checkCycles reports packages that no order installs: each of a circle needs
// the next, and one of them, by Pre-Depends, before it is as much as unpacked
// (Debian Policy 7.2). Circles of Depends are not reported: Debian has them, and
// packages of one are unpacked first and configured later.
func (r *resolver) checkCycles() error {
	for _, e := range r.queue {
		f, err := r.factsOf(e)
		if err != nil {
			return err
		}
		for _, group := range f.depends[:f.pre] {
			first := r.onlyOne(group)
			if first == nil {
				continue
			}
			way, err := r.way(first, e)
			if err != nil {
				return err
			}
			if way != nil {
				return r.circle(e, way)
			}
		}
	}
	return nil
}

// circle explains that e needs, before it is unpacked, the first package of a way
// that leads back to it.
func (r *resolver) circle(e *entry, way []*entry) error {
	names := []string{e.name}
	for _, w := range way {
		names = append(names, w.name)
	}
	return fault.Inputf("choosing packages of %s for %s: %q %s is to be unpacked after %q, which needs it (%s): no order installs them",
		r.suite, r.arch, e.name, e.version, way[0].name, strings.Join(names, " → ")).
		WithFix("leave %q out, or take another version of it", e.name)
}

// onlyOne returns the chosen package that meets a group, nil when several do: one
// of them may be outside of a circle.
func (r *resolver) onlyOne(group []control.Relation) *entry {
	var found *entry
	for _, rel := range group {
		var meeting []*entry
		if e := r.chosen[rel.Name]; e != nil && rel.Accepts(e.version) {
			meeting = append(meeting, e)
		}
		for _, p := range r.provided[rel.Name] {
			if p.meets(rel) {
				meeting = append(meeting, p.entry)
			}
		}
		for _, e := range meeting {
			if found != nil && found != e {
				return nil
			}
			found = e
		}
	}
	return found
}

// way returns the shortest way along dependencies between two chosen packages,
// both included; nil when there is none.
func (r *resolver) way(from, to *entry) ([]*entry, error) {
	came := map[*entry]*entry{from: nil}
	for next := []*entry{from}; len(next) > 0; next = next[1:] {
		at := next[0]
		if at == to {
			return back(came, to), nil
		}
		f, err := r.factsOf(at)
		if err != nil {
			return nil, err
		}
		for _, group := range f.depends {
			e := r.onlyOne(group)
			if e == nil {
				continue
			}
			if _, seen := came[e]; !seen {
				came[e] = at
				next = append(next, e)
			}
		}
	}
	return nil, nil
}

// back returns the way that a search came.
func back(came map[*entry]*entry, to *entry) []*entry {
	var way []*entry
	for e := to; e != nil; e = came[e] {
		way = append(way, e)
	}
	slices.Reverse(way)
	return way
}
