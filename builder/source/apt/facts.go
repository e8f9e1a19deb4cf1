package apt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/source/control"
)

// provider is a package that provides a name, in a version or ("") in none.
type provider struct {
	entry   *entry
	version string
}

// meets tells whether a provided name meets a relation: one without a version
// never meets a constraint (Debian Policy 7.5).
func (p provider) meets(rel control.Relation) bool {
	return rel.Op == "" || p.version != "" && rel.Accepts(p.version)
}

// facts are an entry's parsed relations.
type facts struct {
	depends    [][]control.Relation // Pre-Depends, then Depends
	pre        int                  // how many of them are Pre-Depends
	provides   []control.Relation
	exclusions []control.Relation // Conflicts and Breaks
}

// factsOf parses an entry's relations, once.
func (r *resolver) factsOf(e *entry) (*facts, error) {
	if f := r.facts[e]; f != nil {
		return f, nil
	}
	f := &facts{}
	var err error
	for i, field := range []string{e.preDepends, e.depends} {
		groups, err := control.ParseRelations(field)
		if err != nil {
			return nil, fmt.Errorf("reading package %q: %w", e.name, err)
		}
		f.depends = append(f.depends, groups...)
		if i == 0 {
			f.pre = len(groups)
		}
	}
	if f.provides, err = flat(e.provides); err != nil {
		return nil, fmt.Errorf("reading package %q: %w", e.name, err)
	}
	for _, field := range []string{e.conflicts, e.breaks} {
		rels, err := flat(field)
		if err != nil {
			return nil, fmt.Errorf("reading package %q: %w", e.name, err)
		}
		f.exclusions = append(f.exclusions, rels...)
	}
	r.facts[e] = f
	return f, nil
}

// flat parses a field without alternatives.
func flat(field string) ([]control.Relation, error) {
	groups, err := control.ParseRelations(field)
	var all []control.Relation
	for _, g := range groups {
		all = append(all, g...)
	}
	return all, err
}

// providersOf returns the packages that provide a name, by priority and name.
func (ix *index) providersOf(name string, r *resolver) []provider {
	if ix.providers == nil {
		ix.providers = map[string][]provider{}
		for _, first := range ix.byName {
			for e := first; e != nil; e = e.nextVersion {
				provides, err := flat(e.provides)
				if err != nil {
					continue // counts once the package itself is chosen
				}
				for _, p := range provides {
					ix.providers[p.Name] = append(ix.providers[p.Name], provider{e, p.Version})
				}
			}
		}
	}
	all := ix.providers[name]
	slices.SortFunc(all, func(a, b provider) int {
		if c := priority(a.entry) - priority(b.entry); c != 0 {
			return c
		}
		if c := strings.Compare(a.entry.name, b.entry.name); c != 0 {
			return c
		}
		if c := control.CompareVersions(b.entry.version, a.entry.version); c != 0 {
			return c
		}
		return strings.Compare(a.version, b.version)
	})
	return all
}

// priority ranks a package's Priority field, the highest as 0.
func priority(e *entry) int {
	ranks := []string{"required", "important", "standard", "optional"}
	if i := slices.Index(ranks, e.priority); i >= 0 {
		return i
	}
	return len(ranks)
}
