package apt

import (
	"context"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/apt/apttest"
)

// packages parses lines of "name version field: value; field: value".
func packages(lines string) *apttest.Repo {
	repo := apttest.New()
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		d := apttest.Deb{Name: words[0], Version: words[1]}
		for f := range strings.SplitSeq(strings.Join(words[2:], " "), ";") {
			if f = strings.TrimSpace(f); f != "" {
				d.Fields = append(d.Fields, f)
			}
		}
		repo.Add(d)
	}
	repo.Publish()
	return repo
}

func TestChoices(t *testing.T) {
	cases := []struct{ name, archive, ask, want string }{
		{"closure", "a 1 Depends: b, c; Pre-Depends: d\nb 1\nc 1 Depends: e\nd 1\ne 1\nf 1", "a", "a b c d e"},
		{"cycle", "a 1 Depends: b\nb 1 Depends: c\nc 1 Depends: a", "a", "a b c"},
		{"cycle beside pre-depends", "a 1 Depends: b; Pre-Depends: c\nb 1 Depends: a\nc 1 Depends: d\nd 1 Depends: c", "a", "a b c d"},
		{"pre-depends with a way out", "a 1 Pre-Depends: b | c\nb 1 Depends: a\nc 1", "a c", "a c"},
		{"self", "a 1 Depends: a; Provides: x; Conflicts: x", "a", "a"},
		{"recommends", "a 1 Recommends: b; Suggests: c\nb 1\nc 1", "a", "a"},
		{"newest", "a 1\na 10\na 9", "a", "a=10"},
		{"version asked", "a 1\na 10", "a=1", "a=1"},
		{"constraint", "a 1 Depends: b (<< 2)\nb 1\nb 3", "a", "a b=1"},
		{"first alternative", "a 1 Depends: b | c\nb 1\nc 1", "a", "a b"},
		{"alternative that exists", "a 1 Depends: x | c\nc 1", "a", "a c"},
		{"alternative that fits", "a 1 Depends: b (>= 2) | c\nb 1\nc 1", "a", "a c"},
		{"alternative chosen already", "a 1 Depends: b | c\nb 1\nc 1", "c a", "a c"},
		{"alternative asked for later", "a 1 Depends: b | c\nb 1\nc 1", "a c", "a c"},
		{"virtual by name", "a 1 Depends: v\nz 1 Provides: v\ny 1 Provides: v", "a", "a y"},
		{"virtual by priority", "a 1 Depends: v\nz 1 Provides: v; Priority: important\ny 1 Provides: v; Priority: optional", "a", "a z"},
		{"real before virtual", "a 1 Depends: v\nv 1\nb 1 Provides: v; Priority: required", "a", "a v"},
		{"virtual chosen already", "a 1 Depends: v\nz 1 Provides: v\ny 1 Provides: v", "a z", "a z"},
		{"versioned provides", "a 1 Depends: v (>= 2)\ny 1 Provides: v\nz 1 Provides: v (= 1)\nzz 1 Provides: v (= 3)", "a", "a zz"},
		{"virtual asked for", "a 1 Provides: v", "v", "a"},
		{"any", "a 1 Depends: b:any, c:amd64\nb 1\nc 1", "a", "a b c"},
		{"foreign alternative", "a 1 Depends: b:arm64 | c\nb 1\nc 1", "a", "a c"},
		{"conflict avoided", "a 1 Depends: b | c; Conflicts: b\nb 1\nc 1", "a", "a c"},
		{"conflict with provider avoided", "a 1 Depends: v; Breaks: y\ny 1 Provides: v\nz 1 Provides: v", "a", "a z"},
		{"conflict of other version", "a 1 Depends: b; Conflicts: b (<< 1)\nb 1", "a", "a b"},
		{"unversioned provides no versioned conflict", "a 1 Depends: b; Conflicts: v (>= 0)\nb 1 Provides: v", "a", "a b"},
		{"replacing provider", "a 1 Provides: v; Conflicts: v; Replaces: v", "a", "a"},
		{"epoch", "a 1 Depends: b (>= 1:0)\nb 9\nb 1:1", "a", "a b=1:1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := archiveOf(t, packages(c.archive))
			res, err := a.Resolve(context.Background(), strings.Fields(c.ask))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range strings.Fields(c.want) {
				name, version, given := strings.Cut(want, "=")
				found := false
				for _, p := range res.Packages {
					found = found || p.Name == name && (!given || p.Version == version)
				}
				if !found {
					t.Errorf("%s is missing", want)
				}
			}
			if len(res.Packages) != len(strings.Fields(c.want)) {
				t.Errorf("got %s, want %s", names(res), c.want)
			}
		})
	}
}

func TestResolveFaults(t *testing.T) {
	cases := []struct{ name, archive, ask, words string }{
		{"unknown", "nginx 1", "ngimx", `"ngimx"|"test"|amd64|did you mean "nginx"`},
		{"unknown, nothing near", "nginx 1", "completely-different", `no package "completely-different"`},
		{"unknown version", "a 1\na 2", "a=3", `"a"|"3"|2, 1`},
		{"unknown dependency", "a 1 Depends: b | c", "a", `"a" 1|b / c|no such package`},
		{"unmet version", "a 1 Depends: b (>= 2)\nb 1", "a", "b (>= 2)|the archive has b 1"},
		{"chosen in another version", "a 1 Depends: b (>= 2)\nb 1\nb 2", "b=1 a", "b 1 is chosen already"},
		{"two versions", "a 1\na 2", "a=1 a=2", `"1"|"2"`},
		{"conflict", "a 1 Conflicts: b\nb 1", "b a", `"a" 1 conflicts with "b"|"b" 1`},
		{"breaks", "a 1 Depends: c\nb 1\nc 1 Breaks: b (<< 2)", "a b", `"c" 1 conflicts with "b (<< 2)"`},
		{"conflict with virtual", "a 1 Conflicts: v\nb 1 Provides: v", "a b", `"v"|"b" 1`},
		{"unavoidable conflict", "a 1 Depends: b; Conflicts: b\nb 1", "a", `conflicts with "b"`},
		{"many providers", "a 1 Provides: v\nb 1 Provides: v", "v", `provided by a, b`},
		{"foreign dependency", "a 1 Depends: b:arm64\nb 1", "a", "b:arm64"},
		{"circle of pre-depends", "a 1 Depends: b\nb 1 Pre-Depends: c\nc 1 Pre-Depends: b", "a", `"b" 1|after "c"|b → c → b|leave "b" out`},
		{"circle with one pre-depends", "a 1 Pre-Depends: b\nb 1 Depends: v\nc 1 Provides: v; Depends: a", "a", `"a" 1|after "b"|a → b → c → a`},
		{"pre-depends on itself", "a 1 Pre-Depends: a", "a", `a → a`},
		{"malformed field", "a 1 Depends: b (", "a", `"a"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := archiveOf(t, packages(c.archive))
			_, err := a.Resolve(context.Background(), strings.Fields(c.ask))
			class := fault.Input
			if c.name == "malformed field" {
				class = fault.Unknown
			}
			var words []string
			for w := range strings.SplitSeq(c.words, "|") {
				words = append(words, strings.ReplaceAll(w, "/", "|"))
			}
			wantFault(t, err, class, words...)
		})
	}
}

func TestResolveEachLoadsOnce(t *testing.T) {
	repo := packages("linux-image-amd64 1 Depends: linux-image-6.1 (= 1)\nlinux-image-6.1 1 Depends: kmod, initramfs-tools\nstub 1 Depends: nothing")
	a := archiveOf(t, repo)
	all, err := a.ResolveEach(context.Background(), []Request{
		{Names: []string{"linux-image-amd64"}, Follow: Follow{Prefix: "linux-image-"}},
		{Names: []string{"stub"}, Follow: Follow{None: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if names(all[0]) != "linux-image-6.1 linux-image-amd64" || names(all[1]) != "stub" {
		t.Errorf("got %s; %s", names(all[0]), names(all[1]))
	}
	if got := repo.Requests(); len(got) != 2 {
		t.Errorf("asked for %q", got)
	}
	one, err := a.ResolveExact(context.Background(), []string{"stub"})
	if err != nil || names(one) != "stub" {
		t.Errorf("%v %s", err, names(one))
	}
	two, err := a.ResolveOnly(context.Background(), []string{"linux-image-amd64"}, "linux-image-")
	if err != nil || names(two) != names(all[0]) {
		t.Errorf("%v %s", err, names(two))
	}
}

// Packages of an earlier answer stay, as long as they do and the archive has
// them.
func TestKeep(t *testing.T) {
	cases := []struct{ name, archive, keep, ask, want, err string }{
		{"old version", "a 1\na 2", "a=1", "a", "a=1", ""},
		{"not asked for", "a 1\nb 1", "b=1", "a", "a", ""},
		{"dependency", "a 1 Depends: b\na 2 Depends: b\nb 1\nb 2", "b=1", "a", "a=2 b=1", ""},
		{"another version asked for", "a 1\na 2", "a=1", "a=2", "a=2", ""},
		{"new dependency needs more", "a 2 Depends: b (>= 2)\nb 1\nb 2", "b=1", "b a", "a b=2", ""},
		{"needs more before it is chosen", "a 2 Depends: b (>= 2)\nb 1\nb 2", "b=1", "a", "a b=2", ""},
		{"new version breaks it", "a 2 Depends: b; Breaks: b (<< 2)\nb 1\nb 2", "b=1", "b a", "a b=2", ""},
		{"provider", "a 1 Depends: v\nx 1 Provides: v\ny 1 Provides: v", "y=1", "a", "a y", ""},
		{"alternative", "a 1 Depends: x | y\nx 1\ny 1", "y=1", "a", "a y", ""},
		{"gone", "a 2\nb 3 Depends: a\nc 1", "a=1 b=1 c=1", "b c", "", "no longer has a 1 (it has 2), b 1 (it has 3); update these as well: a b"},
		{"gone and not needed", "a 2\nb 1", "a=1", "b", "b", ""},
		{"conflict of two that stay", "a 1 Conflicts: b\nb 1", "a=1 b=1", "a b", "", `"a" 1 conflicts with "b"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := archiveOf(t, packages(c.archive))
			all, err := a.ResolveEach(t.Context(), []Request{{Names: strings.Fields(c.ask), Keep: keepOf(t, a, c.keep)}})
			if c.err != "" {
				wantFault(t, err, fault.Input, c.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range all[0].Packages {
				if strings.Contains(c.want, p.Name+"=") {
					got = append(got, p.Name+"="+p.Version)
				} else {
					got = append(got, p.Name)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Packages that are taken for what they are stay, too.
func TestKeepEssential(t *testing.T) {
	a := archiveOf(t, packages("e 1 Essential: yes\ne 2 Essential: yes\np 1 Priority: required\np 2 Priority: required"))
	all, err := a.ResolveEach(t.Context(), []Request{{Essential: true, Priorities: []string{"required"}, Keep: keepOf(t, a, "e=1 p=1")}})
	if err != nil || len(all[0].Packages) != 2 || all[0].Packages[0].Version != "1" || all[0].Packages[1].Version != "1" {
		t.Errorf("%v %+v", err, all)
	}
}

// keepOf returns packages "name=version" as the archive has them, or had them.
func keepOf(t *testing.T, a *Archive, list string) []Package {
	t.Helper()
	var all []Package
	for _, word := range strings.Fields(list) {
		res, err := a.ResolveExact(t.Context(), []string{word})
		if err != nil {
			name, version, _ := strings.Cut(word, "=")
			all = append(all, Package{Name: name, Version: version, SHA256: strings.Repeat("0", 64)})
			continue
		}
		all = append(all, res.Packages...)
	}
	return all
}
