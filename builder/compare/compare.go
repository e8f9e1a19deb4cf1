// Package compare tells two platforms apart: two plans, locks, builds or
// published artifacts. Each of them is read into the same plain form, a list of
// items with fields per architecture and section, so that any two can be
// compared as far as both tell.
package compare

import (
	"cmp"
	"slices"
	"strings"
)

// Names of sections, in the order in which they are reported.
const (
	Settings    = "settings"
	Packages    = "packages"
	Cmdline     = "command line"
	Users       = "users"    // that a plan asks for
	Accounts    = "accounts" // that a root has
	Permissions = "permissions"
	Files       = "files"
	Artifacts   = "artifacts"
	Documents   = "documents" // beside the artifacts
)

// Subject is one of the two that are compared.
type Subject struct {
	Name  string
	Sides []Side
}

// Side is what a subject is for one architecture.
type Side struct {
	Arch     string
	Sections []Section
}

// Section holds items of a kind. A section that isn't there is unknown; an empty
// one is known to be empty.
type Section struct {
	Name  string
	Items []Item
}

// Item is a package, a file or anything else with a name.
type Item struct {
	Name   string
	Fields []Field
}

// Field is something that an item tells of itself. That "" changes to a value
// is a change, too.
type Field struct {
	Name, Value string
	// Implied changes are reported only when no other field changed: they
	// follow from others.
	Implied bool
}

// Kind is what happened to an item.
type Kind string

// The kinds of changes.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

// Report is what is different.
type Report struct {
	A     string       `json:"a"`
	B     string       `json:"b"`
	Archs []ArchReport `json:"architectures"`
}

// ArchReport is what is different for one architecture.
type ArchReport struct {
	Arch string `json:"arch"`
	// Only is "a" or "b" when the other has nothing for this architecture.
	Only     string          `json:"only,omitempty"`
	Sections []SectionReport `json:"sections"`
	// Unknown are sections of which only one side tells.
	Unknown []string `json:"not_compared,omitempty"`
}

// SectionReport lists changes, sorted by name.
type SectionReport struct {
	Name    string   `json:"name"`
	Changes []Change `json:"changes"`
}

// Change is what happened to an item.
type Change struct {
	Kind   Kind          `json:"kind"`
	Name   string        `json:"name"`
	Fields []FieldChange `json:"fields,omitempty"`
}

// FieldChange is what happened to a field; of an added or removed item, one
// value is "".
type FieldChange struct {
	Name string `json:"name"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// Equal tells whether nothing is different.
func (r Report) Equal() bool {
	return !slices.ContainsFunc(r.Archs, func(a ArchReport) bool { return a.Only != "" || len(a.Sections) > 0 })
}

// Diff compares two subjects.
func Diff(a, b Subject) Report {
	r := Report{A: a.Name, B: b.Name, Archs: []ArchReport{}}
	for _, name := range archNames(a, b) {
		one, two := a.side(name), b.side(name)
		out := ArchReport{Arch: name, Sections: []SectionReport{}}
		switch {
		case one == nil:
			out.Only = "b"
		case two == nil:
			out.Only = "a"
		default:
			out.compare(*one, *two)
		}
		r.Archs = append(r.Archs, out)
	}
	return r
}

// archNames returns the architectures of both, sorted.
func archNames(subjects ...Subject) []string {
	var names []string
	for _, s := range subjects {
		for _, side := range s.Sides {
			names = append(names, side.Arch)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s Subject) side(name string) *Side {
	for i := range s.Sides {
		if s.Sides[i].Arch == name {
			return &s.Sides[i]
		}
	}
	return nil
}

func (s Side) section(name string) *Section {
	for i := range s.Sections {
		if s.Sections[i].Name == name {
			return &s.Sections[i]
		}
	}
	return nil
}

func (r *ArchReport) compare(a, b Side) {
	for _, name := range []string{Settings, Packages, Cmdline, Users, Accounts, Permissions, Files, Artifacts, Documents} {
		one, two := a.section(name), b.section(name)
		switch {
		case one == nil && two == nil:
		case one == nil || two == nil:
			r.Unknown = append(r.Unknown, name)
		default:
			changes := diffItems(one.Items, two.Items)
			if name == Settings { // one that only a side has is unknown to the other
				changes = slices.DeleteFunc(changes, func(c Change) bool { return c.Kind != Changed })
			}
			if len(changes) > 0 {
				r.Sections = append(r.Sections, SectionReport{name, changes})
			}
		}
	}
}

// diffItems compares items by their names, those of equal names in their order.
func diffItems(a, b []Item) []Change {
	byName := func(x, y Item) int { return strings.Compare(x.Name, y.Name) }
	a, b = slices.SortedStableFunc(slices.Values(a), byName), slices.SortedStableFunc(slices.Values(b), byName)
	var changes []Change
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = cmp.Compare(a[0].Name, b[0].Name)
		}
		switch {
		case order < 0:
			changes = append(changes, Change{Removed, a[0].Name, diffFields(a[0].Fields, nil)})
			a = a[1:]
		case order > 0:
			changes = append(changes, Change{Added, b[0].Name, diffFields(nil, b[0].Fields)})
			b = b[1:]
		default:
			if fields := diffFields(a[0].Fields, b[0].Fields); fields != nil {
				changes = append(changes, Change{Changed, a[0].Name, fields})
			}
			a, b = a[1:], b[1:]
		}
	}
	return changes
}

// diffFields lists the fields with different values, in the order of the side
// that has more of them.
func diffFields(a, b []Field) []FieldChange {
	order := a
	if len(b) > len(a) {
		order = b
	}
	var changes, implied []FieldChange
	for _, f := range order {
		c := FieldChange{f.Name, value(a, f.Name), value(b, f.Name)}
		switch {
		case c.Old == c.New:
		case f.Implied:
			implied = append(implied, c)
		default:
			changes = append(changes, c)
		}
	}
	if changes == nil {
		return implied
	}
	return changes
}

func value(fields []Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
