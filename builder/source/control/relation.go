package control

import (
	"fmt"
	"strings"
)

// Relation is one alternative of a relationship field: a package, perhaps
// limited to versions or an architecture (deb-control(5), Debian Policy 7.1).
type Relation struct {
	Name string
	// Arch is the qualifier after a colon: "", "any", or an architecture.
	Arch string
	// Op is "", "<<", "<=", "=", ">=" or ">>"; Version is what it refers to.
	Op, Version string
}

// String returns the relation as it is written in a control file.
func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != "" {
		s += " (" + r.Op + " " + r.Version + ")"
	}
	return s
}

// Accepts tells whether a version meets the relation's constraint.
func (r Relation) Accepts(version string) bool {
	if r.Op == "" {
		return true
	}
	c := CompareVersions(version, r.Version)
	switch r.Op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	}
	return c > 0
}

// ParseRelations parses a relationship field of a binary package: groups, all
// of which count, of alternatives, one of which suffices.
func ParseRelations(field string) ([][]Relation, error) {
	var groups [][]Relation
	for group := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(group) == "" {
			continue // dpkg accepts an empty field and a trailing comma
		}
		var alternatives []Relation
		for text := range strings.SplitSeq(group, "|") {
			r, err := parseRelation(strings.TrimSpace(text))
			if err != nil {
				return nil, err
			}
			alternatives = append(alternatives, r)
		}
		groups = append(groups, alternatives)
	}
	return groups, nil
}

func parseRelation(text string) (Relation, error) {
	name, constraint, versioned := strings.Cut(text, "(")
	name, qualifier, qualified := strings.Cut(strings.TrimSpace(name), ":")
	r := Relation{Name: name, Arch: qualifier}
	if !ValidName(name) || qualified && !ValidName(qualifier) {
		return r, fmt.Errorf("reading relation %q: not a package's name", text)
	}
	if !versioned {
		return r, nil
	}
	constraint, ok := strings.CutSuffix(constraint, ")")
	if !ok {
		return r, fmt.Errorf("reading relation %q: the version's parenthesis is not closed", text)
	}
	constraint = strings.TrimSpace(constraint)
	r.Version = strings.TrimLeft(constraint, "<=>")
	r.Op = constraint[:len(constraint)-len(r.Version)]
	r.Version = strings.TrimSpace(r.Version)
	switch r.Op {
	case "<", ">": // obsolete, meaning <= and >=
		r.Op += "="
	case "": // as dpkg: a bare version means equality
		r.Op = "="
	case "<<", "<=", "=", ">=", ">>":
	default:
		return r, fmt.Errorf("reading relation %q: unknown operator %q", text, r.Op)
	}
	if err := CheckVersion(r.Version); err != nil {
		return r, fmt.Errorf("reading relation %q: %w", text, err)
	}
	return r, nil
}

// ValidName tells whether s can be a package's or an architecture's name:
// letters, digits and + - . after a first letter or digit. Capitals are
// accepted, as dpkg does.
func ValidName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isDigit(c) && !isLetter(c) && (i == 0 || !strings.ContainsRune("+-._", rune(c))) {
			return false
		}
	}
	return true
}
