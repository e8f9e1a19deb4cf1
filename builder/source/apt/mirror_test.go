package apt

import (
	"testing"
	"testing/fstest"

	"github.com/powernode/bootsmith/builder/fault"
)

func host(files ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		fsys["etc/apt/"+files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fsys
}

func TestChooseMirror(t *testing.T) {
	deb822 := "# comment\nTypes: deb deb-src\nURIs: http://security.example.org/debian-security\nSuites: bookworm-security\nComponents: main\n\n" +
		"Enabled: no\nTypes: deb\nURIs: http://off.example.org/debian\nSuites: bookworm\n\n" +
		"Types: deb\nURIs: cdrom:[x]/ https://deb.example.org/mirror/debian/\nSuites: bookworm-updates bookworm\nComponents: main\nSigned-By:\n -----BEGIN\n .\n"
	list := "deb-src http://src.example.org/debian bookworm main\n# deb http://no.example.org/debian bookworm main\n" +
		"deb [arch=amd64 signed-by=/x] http://list.example.org/debian bookworm main # note\n"
	ubuntu := "deb http://u.example.org/ubuntu noble main universe\n"
	cases := []struct {
		name, definition, override, suite string
		host                              fstest.MapFS
		want                              string
	}{
		{"definition", "http://a.example.org/d", "http://b.example.org", "trixie", host(), "http://a.example.org/d"},
		{"override", "", "file:///srv/mirror", "trixie", host(), "file:///srv/mirror"},
		{"deb822", "", "", "trixie", host("sources.list.d/debian.sources", deb822), "https://deb.example.org/mirror/debian"},
		{"list first", "", "", "trixie", host("sources.list.d/debian.sources", deb822, "sources.list", list), "http://list.example.org/debian"},
		{"by distribution", "", "", "noble", host("sources.list", list, "sources.list.d/u.list", ubuntu), "http://u.example.org/ubuntu"},
		{"disabled files", "", "", "trixie", host("sources.list.d/x.list.off", list), ""},
		{"none", "", "", "trixie", host("sources.list", ubuntu), ""},
		{"bad definition", "example.org/debian", "", "trixie", host(), ""},
		{"bad file URL", "", "file://host/x", "trixie", host(), ""},
	}
	for _, c := range cases {
		got, err := ChooseMirror(c.definition, c.override, c.suite, c.host)
		if c.want == "" {
			if fault.ClassOf(err) != fault.Input {
				t.Errorf("%s: %q, %v", c.name, got, err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func FuzzHostMirror(f *testing.F) {
	f.Add("deb [x] http://a.example.org/debian s main", "Types: deb\nURIs: http://a.example.org/debian\nSuites: s\n")
	f.Fuzz(func(t *testing.T, list, sources string) {
		got, err := HostMirror(host("sources.list", list, "sources.list.d/a.sources", sources), "trixie")
		if err == nil && checkMirror(got) != nil {
			t.Fatalf("%q", got)
		}
	})
}

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte("Suite: a\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n " + "00 1 x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRelease(text)
		if err != nil {
			return
		}
		for path, b := range r.files {
			if b.check() != nil {
				t.Fatalf("%q: %v", path, b)
			}
		}
	})
}
