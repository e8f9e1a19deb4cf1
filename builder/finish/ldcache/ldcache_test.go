package ldcache

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ldconfig reads the cache back, in the order in which it would write it.
func TestReadByLdconfig(t *testing.T) {
	names := []string{"libc.so.6", "libfoo.so.10", "libfoo.so.9", "libfoo.so.9.1", "libfoo-a.so", "libz.so.1", "ld-linux-x86-64.so.2", "lib1.so", "liba.so", "libA.so"}
	var entries []Entry
	for _, n := range names {
		entries = append(entries, Entry{Flags: LibC6 | 0x0300, Name: n, Path: "/usr/lib/" + n})
	}
	entries = append(entries, Entry{Flags: LibC6 | 0x0a00, Name: "libc.so.6", Path: "/usr/lib/arm/libc.so.6"})
	var b bytes.Buffer
	if err := Write(&b, entries); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ldconfig, err := exec.LookPath("ldconfig")
	if err != nil {
		ldconfig = "/usr/sbin/ldconfig"
	}
	out, err := exec.Command(ldconfig, "-p", "-C", file).CombinedOutput()
	if err != nil {
		t.Fatalf("running ldconfig (package libc-bin): %v: %s", err, out)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) \((\S+)\) => (\S+)$`).FindAllStringSubmatch(string(out), -1) {
		if !strings.HasSuffix(m[3], "/"+m[1]) {
			t.Errorf("%q leads to %q", m[1], m[3])
		}
		got = append(got, m[1]+" "+m[2])
	}
	want := []string{
		"libz.so.1 libc6,x86-64", "libfoo.so.10 libc6,x86-64", "libfoo.so.9.1 libc6,x86-64", "libfoo.so.9 libc6,x86-64", "libfoo-a.so libc6,x86-64",
		"libc.so.6 libc6,AArch64", "libc.so.6 libc6,x86-64", "liba.so libc6,x86-64", "libA.so libc6,x86-64", "lib1.so libc6,x86-64", "ld-linux-x86-64.so.2 libc6,x86-64",
	}
	// lib1 sorts above letters: a digit follows any other character.
	i := slices.Index(want, "lib1.so libc6,x86-64")
	want = slices.Insert(slices.Delete(want, i, i+1), 0, "lib1.so libc6,x86-64")
	if !slices.Equal(got, want) {
		t.Errorf("ldconfig lists\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRefuses(t *testing.T) {
	for _, e := range []Entry{{Name: "", Path: "/a/"}, {Name: "liba.so", Path: "/b/libb.so"}, {Name: "a\x00", Path: "/a\x00"}} {
		if err := Write(&bytes.Buffer{}, []Entry{e}); err == nil {
			t.Errorf("%+v was taken", e)
		}
	}
}

func FuzzCompare(f *testing.F) {
	f.Add("libfoo.so.10", "libfoo.so.9")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := Compare(a, b), Compare(b, a)
		if (x < 0) != (y > 0) || (x == 0) != (y == 0) {
			t.Errorf("%q and %q: %d and %d", a, b, x, y)
		}
	})
}
