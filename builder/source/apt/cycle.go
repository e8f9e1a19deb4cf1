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
	needs := map[*entry][]*entry{}
	pre := map[*entry]int{} // how many of these are Pre-Depends
	for _, e := range r.queue {
		f, err := r.factsOf(e)
		if err != nil {
			return err
		}
		for i, group := range f.depends {
			if only := r.onlyOne(group); only != nil {
				needs[e] = append(needs[e], only)
				if i < f.pre {
					pre[e]++
				}
			}
		}
	}
	for _, e := range r.queue {
		for _, first := range needs[e][:pre[e]] {
			if way := way(needs, first, e); way != nil {
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
		for e := range r.meeting(rel) {
			if found != nil && found != e {
				return nil
			}
			found = e
		}
	}
	return found
}

// way returns the shortest way along needs between two packages, both included;
// nil when there is none.
func way(needs map[*entry][]*entry, from, to *entry) []*entry {
	came := map[*entry]*entry{from: nil}
	for next := []*entry{from}; len(next) > 0; next = next[1:] {
		at := next[0]
		if at == to {
			return back(came, to)
		}
		for _, e := range needs[at] {
			if _, seen := came[e]; !seen {
				came[e] = at
				next = append(next, e)
			}
		}
	}
	return nil
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
