package fat

import (
	"fmt"
	"strings"
	"testing"
)

func TestShortNames(t *testing.T) {
	dir := newDir("", nil)
	for _, name := range []string{"BOOTX64.EFI", "identity.cfg", "loader.conf", "loader.cond", ".hidden", "a b", "a+b", "x.y.z", "é", "longbasename", "longbasenamf"} {
		if err := dir.insert(memFile(name, nil)); err != nil {
			t.Fatal(err)
		}
	}
	dir.walk()
	if err := dir.assignShortNames(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range dir.children {
		got = append(got, fmt.Sprintf("%s=%s %v", c.name, c.short, c.isShort()))
	}
	want := []string{
		".hidden=HIDDEN~1    false", "BOOTX64.EFI=BOOTX64 EFI true", "a b=AB~1        false", "a+b=A_B~1       false",
		"identity.cfg=IDENTITYCFG false", "loader.cond=LOADER~1CON false", "loader.conf=LOADER~2CON false",
		"longbasename=LONGBA~1    false", "longbasenamf=LONGBA~2    false", "x.y.z=XY~1    Z   false", "é=_~1         false",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// FuzzShortNames: whatever two dozen names a directory has, their short names
// are different, and made of characters that short names may have.
func FuzzShortNames(f *testing.F) {
	f.Add("a b/a+b/a  b/LOADER~1.CON/loader.conf/loader.cond")
	f.Add("longlonglong1/longlonglong2/LONGLO~1/LONGLO~2/.x/..x")
	f.Add("ſ/s/K/k/ß/ss/İ/i")
	f.Fuzz(func(t *testing.T, names string) {
		dir := newDir("", nil)
		for name := range strings.SplitSeq(names, "/") {
			// Names that FAT can't hold are refused, and that is all right.
			_ = dir.insert(memFile(name, nil))
		}
		dir.walk()
		if err := dir.assignShortNames(); err != nil {
			t.Fatal(err)
		}
		seen := map[[11]byte]string{}
		for _, c := range dir.children {
			if other, ok := seen[c.short]; ok {
				t.Errorf("%q and %q are both %q", c.name, other, c.short)
			}
			seen[c.short] = c.name
			checkShort(t, c)
		}
	})
}

func checkShort(t *testing.T, n *node) {
	t.Helper()
	base, ext := string(n.short[:8]), string(n.short[8:])
	for _, part := range []string{base, ext} {
		for _, r := range strings.TrimRight(part, " ") {
			if !isShortChar(r) {
				t.Errorf("%q became %q with the character %q", n.name, n.short, r)
			}
		}
	}
	if strings.TrimRight(base, " ") == "" {
		t.Errorf("%q became %q without a base name", n.name, n.short)
	}
}

// BenchmarkNew lays out directories of similar long names; ns/op per file must
// not grow with their number.
func BenchmarkNew(b *testing.B) {
	for _, count := range []int{1000, 10000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			var files []File
			for i := range count {
				files = append(files, memFile(fmt.Sprintf("dir/similar-name-%d-%d.conf", i%7, i), nil))
			}
			for b.Loop() {
				if _, err := New(config, files); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/file")
		})
	}
}
