package deb_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/builder/source/deb"
)

// The control archive alone says the same as the whole package, and is read
// without what follows it.
func TestReadControl(t *testing.T) {
	for _, c := range []string{".xz", ".gz", ".zst", "none"} {
		data := rich(c).Bytes()
		whole, err := read(open(t), data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := deb.ReadControl(t.Context(), bytes.NewReader(data[:bytes.Index(data, []byte("data.tar"))]))
		if err != nil {
			t.Errorf("%q: %v", c, err)
			continue
		}
		if !reflect.DeepEqual(got.Control, whole.Control) || !reflect.DeepEqual(got.Files, whole.Files) || got.Entries != nil {
			t.Errorf("%q: got %+v", c, got)
		}
	}
}

func TestReadControlRefuses(t *testing.T) {
	version := apttest.ArMember{Name: "debian-binary", Data: []byte("2.0\n")}
	control := func(text string) apttest.ArMember {
		return apttest.ArMember{Name: "control.tar", Data: apttest.Tar([]apttest.Member{apttest.File("./control", text)})}
	}
	for want, data := range map[string][]byte{
		"no ar archive":                  []byte("PK\x03\x04"),
		"unexpected EOF":                 apttest.Ar(version),
		`member "data.tar" is unknown`:   apttest.Ar(version, apttest.ArMember{Name: "data.tar"}),
		`member "control.exe" is unknow`: apttest.Ar(version, apttest.ArMember{Name: "_ignored"}, apttest.ArMember{Name: "control.exe"}),
		`reading "control.tar"`:          apttest.Ar(version, control("Package x\n")),
		"header is malformed":            append(apttest.Ar(version), bytes.Repeat([]byte("x"), 60)...),
	} {
		p, err := deb.ReadControl(t.Context(), bytes.NewReader(data))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %+v, %v, want %q", p, err, want)
		}
	}
	if p, err := deb.ReadControl(t.Context(), bytes.NewReader(apttest.Ar(apttest.ArMember{Name: "debian-binary", Data: []byte("3.0\n")}))); err == nil {
		t.Errorf("format 3.0: %+v", p)
	}
}

func FuzzReadControl(f *testing.F) {
	f.Add(rich("none").Bytes())
	f.Add(rich(".xz").Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := deb.ReadControl(t.Context(), bytes.NewReader(data))
		if err == nil && len(p.Control) == 0 {
			t.Error("a package without control fields")
		}
	})
}
