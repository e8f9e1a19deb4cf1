package console

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestPrintf(t *testing.T) {
	var a, b bytes.Buffer
	c := New(&a)
	c.Debugf("unseen")
	c.Redirect()
	c.Printf("one %q", "x\n")
	c.Redirect(&a, &b)
	c.SetDebug(true)
	c.Debugf("two\n\x1b[2J\u009bthree")
	if want := "bootsmith-init: one \"x\\n\"\nbootsmith-init: two ?[2J?three\n"; a.String() != want {
		t.Errorf("got %q", a.String())
	}
	if !strings.HasSuffix(a.String(), b.String()) || b.Len() == 0 {
		t.Errorf("the second console got %q", b.String())
	}
}

func TestNames(t *testing.T) {
	if got := Names("tty0 ../sda . ttyS0\n"); !reflect.DeepEqual(got, []string{"tty0", "ttyS0"}) {
		t.Errorf("got %q", got)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("tty0 ttyS0\n")
	f.Fuzz(func(t *testing.T, active string) {
		for _, name := range Names(active) {
			if name == "" || name == ".." || strings.ContainsAny(name, "/\n\x00") {
				t.Errorf("got %q", name)
			}
		}
	})
}
