package compare

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// arrow stands between an old and a new value.
const arrow = " → "

// WriteText writes a report for people: a line per change, under headings.
func (r Report) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, a := range r.Archs {
		a.write(out, r)
	}
	return out.Flush()
}

func (a ArchReport) write(w io.Writer, r Report) {
	switch {
	case a.Only != "":
		fmt.Fprintf(w, "%s: only in %s\n", a.Arch, map[string]string{"a": r.A, "b": r.B}[a.Only])
	case len(a.Sections) == 0:
		fmt.Fprintf(w, "%s: no difference\n", a.Arch)
	default:
		fmt.Fprintf(w, "%s:\n", a.Arch)
	}
	for _, s := range a.Sections {
		fmt.Fprintf(w, "  %s:\n", s.Name)
		for _, c := range s.Changes {
			fmt.Fprintf(w, "    %s\n", c)
		}
	}
	if a.Unknown != nil {
		fmt.Fprintf(w, "  not compared, since only one side tells: %s\n", strings.Join(a.Unknown, ", "))
	}
}

// String returns the change as a line: "+ name fields", "- name fields" or
// "~ name field old → new".
func (c Change) String() string {
	sign := map[Kind]string{Added: "+", Removed: "-", Changed: "~"}[c.Kind]
	words := []string{sign, Printable(c.Name)}
	for i, f := range c.Fields {
		text := shorten(f.Old + f.New) // one of which is empty
		if c.Kind == Changed {
			text = shorten(f.Old) + arrow + shorten(f.New)
		}
		if f.Name != "version" && f.Name != "value" {
			text = f.Name + " " + text
		}
		if i < len(c.Fields)-1 {
			text += ","
		}
		words = append(words, Printable(text))
	}
	return strings.Join(words, " ")
}

// digests are SHA-256 and Git's.
var digests = regexp.MustCompile(`\b([0-9a-f]{64}|[0-9a-f]{40})\b`)

// shorten abbreviates digests, which people tell apart by their first digits.
func shorten(value string) string {
	if value == "" {
		return `""`
	}
	return digests.ReplaceAllStringFunc(value, func(d string) string { return d[:12] })
}

// Printable replaces control characters, which come from outside and could steer
// the terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}
