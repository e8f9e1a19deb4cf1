package apt

import (
	"fmt"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/control"
)

// clashes tells whether a package conflicts with a chosen one.
func (r *resolver) clashes(e *entry) (bool, error) {
	for _, other := range r.queue {
		for _, pair := range [][2]*entry{{e, other}, {other, e}} {
			rel, err := r.excludes(pair[0], pair[1])
			if err != nil || rel != nil {
				return rel != nil, err
			}
		}
	}
	return false, nil
}

// excludes returns the relation by which a rules out b, or nil.
func (r *resolver) excludes(a, b *entry) (*control.Relation, error) {
	fa, err := r.factsOf(a)
	if err != nil || len(fa.exclusions) == 0 || a.name == b.name {
		return nil, err
	}
	fb, err := r.factsOf(b)
	if err != nil {
		return nil, err
	}
	for i, rel := range fa.exclusions {
		if rel.Name == b.name && rel.Accepts(b.version) {
			return &fa.exclusions[i], nil
		}
		for _, p := range fb.provides {
			if p.Name == rel.Name && (provider{b, p.Version}).meets(rel) {
				return &fa.exclusions[i], nil
			}
		}
	}
	return nil, nil
}

// checkExclusions reports the first conflict among the chosen packages.
func (r *resolver) checkExclusions() error {
	for _, a := range r.queue {
		for _, b := range r.queue {
			rel, err := r.excludes(a, b)
			if err != nil {
				return err
			}
			if rel != nil {
				if stuck := r.stuckOn(b, a); stuck != nil {
					return stuck
				}
				return fault.Inputf("choosing packages of %s for %s: %q %s conflicts with %q, and %q %s is needed, too",
					r.suite, r.arch, a.name, a.version, rel, b.name, b.version).
					WithFix("leave one of the two out")
			}
		}
	}
	return nil
}

// unmet explains a dependency that can't be met.
func (r *resolver) unmet(e *entry, group []control.Relation) error {
	var wanted, had []string
	for _, rel := range group {
		wanted = append(wanted, rel.String())
		if c := r.chosen[rel.Name]; c != nil {
			had = append(had, fmt.Sprintf("%s %s is chosen already", c.name, c.version))
		} else if vs := r.ix.versions(rel.Name); len(vs) > 0 {
			had = append(had, fmt.Sprintf("the archive has %s %s", rel.Name, vs[0].version))
		}
	}
	if had == nil {
		had = []string{"the archive has no such package"}
	}
	return fault.Inputf("choosing packages of %s for %s: %q %s depends on %q: %s",
		r.suite, r.arch, e.name, e.version, strings.Join(wanted, " | "), strings.Join(had, ", "))
}

// unknown explains a name that the archive doesn't have.
func (r *resolver) unknown(rel control.Relation) error {
	what := fmt.Sprintf("choosing packages of %s for %s: ", r.suite, r.arch)
	if vs := r.ix.versions(rel.Name); len(vs) > 0 {
		var have []string
		for _, e := range vs {
			have = append(have, e.version)
		}
		return fault.Inputf("%spackage %q has no version %q; it has %s", what, rel.Name, rel.Version, strings.Join(have, ", "))
	}
	if ps := r.ix.providersOf(rel.Name, r); len(ps) > 0 {
		var names []string
		for _, p := range ps[:min(len(ps), 10)] {
			names = append(names, p.entry.name)
		}
		return fault.Inputf("%s%q is not a package, but provided by %s", what, rel.Name, strings.Join(names, ", ")).
			WithFix("name one of these")
	}
	err := fault.Inputf("%sno package %q", what, rel.Name)
	if near := r.ix.nearest(rel.Name); near != "" {
		return err.WithFix("did you mean %q?", near)
	}
	return err
}

// AskedError tells which of the names that a request asks for can't be had.
type AskedError struct {
	Name string
	Err  error
}

// Error implements error.
func (e *AskedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *AskedError) Unwrap() error { return e.Err }

// nearest returns the package name with the fewest edits to name, "" when none
// is near.
func (ix *index) nearest(name string) string {
	best, limit := "", max(2, len(name)/4)+1
	for n := range ix.byName {
		d := distance(name, n, limit)
		if d < limit || d == limit && best != "" && n < best {
			best, limit = n, d
		}
	}
	return best
}

// distance returns the Levenshtein distance of a and b, or more than limit when
// it is larger than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
