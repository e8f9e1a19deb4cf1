package modlist

import (
	"path"
	"reflect"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	got, err := Read(strings.NewReader("/lib/modules/6.12/a.ko\n\n/b.ko.xz\n/c.ko.zst\r\n/d.ko.gz"))
	want := []Module{{"/lib/modules/6.12/a.ko", false}, {"/b.ko.xz", true}, {"/c.ko.zst", true}, {"/d.ko.gz", true}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestReadErrors(t *testing.T) {
	for _, list := range []string{"a.ko", "/a", "/a.xz", "/../a.ko", "//a.ko", "/a.ko.bz2", "/a\x00.ko",
		strings.Repeat("/a.ko\n", maxModules+1), "/" + strings.Repeat("a", 1<<17) + ".ko"} {
		if got, err := Read(strings.NewReader(list)); err == nil {
			t.Errorf("%.20q: got %d modules", list, len(got))
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("/lib/modules/6.12/a.ko.xz\n/b.ko\n")
	f.Fuzz(func(t *testing.T, list string) {
		modules, err := Read(strings.NewReader(list))
		if err != nil {
			return
		}
		for _, m := range modules {
			if !path.IsAbs(m.Path) || strings.Contains(m.Path, "/../") || strings.HasSuffix(m.Path, ".ko") == m.Compressed {
				t.Errorf("got %+v", m)
			}
		}
	})
}
