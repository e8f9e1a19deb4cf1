package control

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestReadStanzas(t *testing.T) {
	in := "# a comment\n\nPackage: a\nDescription: short\n long 1\n .\n\tlong 2\nempty:\n\n \nPackage:b\n# comment\nVersion: 1:2\r\n"
	got, err := ReadStanzas(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	want := []Stanza{
		{{"Package", "a"}, {"Description", "short\n long 1\n .\n\tlong 2"}, {"empty", ""}},
		{{"Package", "b"}, {"Version", "1:2"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if got[1].Get("version") != "1:2" || got[1].Get("x") != "" {
		t.Error("Get is wrong")
	}
}

func TestStanzaErrors(t *testing.T) {
	for _, in := range []string{"no colon\n", " a: b\n", ":x\n", "a: " + strings.Repeat("x", MaxLine) + "\n"} {
		if _, err := ReadStanzas(strings.NewReader(in)); err == nil {
			t.Errorf("%.20q: no error", in)
		}
	}
}

func TestStanzaSkipsRest(t *testing.T) {
	s := NewScanner(strings.NewReader("A: 1\nB: 2\n\nC: 3\n"))
	var names []string
	for s.Stanza() {
		s.Field()
		names = append(names, string(s.Name()))
	}
	if strings.Join(names, " ") != "A C" || s.Err() != nil {
		t.Errorf("%q, %v", names, s.Err())
	}
}

func TestParseRelations(t *testing.T) {
	got, err := ParseRelations("libc6 (>= 2.38), python3:any | p (<3~), x(=1),\n y (> 2),")
	if err != nil {
		t.Fatal(err)
	}
	want := [][]Relation{
		{{Name: "libc6", Op: ">=", Version: "2.38"}},
		{{Name: "python3", Arch: "any"}, {Name: "p", Op: "<=", Version: "3~"}},
		{{Name: "x", Op: "=", Version: "1"}},
		{{Name: "y", Op: ">=", Version: "2"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	for _, bad := range []string{"a | ", "a b", "a (", "a (>= )", "a (=> 1)", "a (>= 1) x", "ä", "a [amd64]", "a <!x>", "a:"} {
		if _, err := ParseRelations(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestAccepts(t *testing.T) {
	for op, want := range map[string]string{"": "yyy", "<<": "ynn", "<=": "yyn", "=": "nyn", ">=": "nyy", ">>": "nny"} {
		got := ""
		for _, v := range []string{"1.9", "2.0", "2.1"} {
			if (Relation{Op: op, Version: "2.0"}).Accepts(v) {
				got += "y"
			} else {
				got += "n"
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", op, got, want)
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("A: b\n c\n\nD: e\n"))
	f.Add([]byte("#\n\n:\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		all, err := ReadStanzas(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out strings.Builder
		for _, st := range all {
			for _, fd := range st {
				out.WriteString(fd.Name + ": " + fd.Value + "\n")
			}
			out.WriteByte('\n')
		}
		again, err := ReadStanzas(strings.NewReader(out.String()))
		if err != nil || len(again) != len(all) {
			t.Fatalf("%d stanzas became %d, error %v", len(all), len(again), err)
		}
	})
}

func FuzzParseRelations(f *testing.F) {
	f.Add("a (>= 1) | b:any, c")
	f.Fuzz(func(t *testing.T, in string) {
		groups, err := ParseRelations(in)
		if err != nil {
			return
		}
		var all []string
		for _, g := range groups {
			var alts []string
			for _, r := range g {
				alts = append(alts, r.String())
			}
			all = append(all, strings.Join(alts, " | "))
		}
		again, err := ParseRelations(strings.Join(all, ", "))
		if err != nil || !reflect.DeepEqual(groups, again) {
			t.Fatalf("%v became %v, error %v", groups, again, err)
		}
	})
}
