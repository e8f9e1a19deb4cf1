package console

import (
	"bytes"
	"io"
	"io/fs"
	"reflect"
	"slices"
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

// Messages go to all active consoles, and to the next best place without any.
func TestOpen(t *testing.T) {
	for _, c := range []struct{ active, devices, want string }{
		{"tty0 ttyS0\n", "tty0 ttyS0 console kmsg", "tty0:x ttyS0:x"},
		{"tty0 hvc7\n", "tty0 ttyS0 console kmsg", "tty0:x"},
		{"hvc7\n", "tty0 console kmsg", "console:x"},
		{"", "tty0 console kmsg", "console:x"},
		{"", "tty0 kmsg", "kmsg:<3>x"},
		{"", "tty0", ""},
	} {
		var written []string
		out := Open(c.active, func(device string) (io.Writer, error) {
			if !slices.Contains(strings.Fields(c.devices), device) {
				return nil, fs.ErrNotExist
			}
			return writerFunc(func(p []byte) { written = append(written, device+":"+string(p)) }), nil
		})
		for _, w := range out {
			if n, err := w.Write([]byte("x")); n != 1 || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
		}
		if got := strings.Join(written, " "); got != c.want {
			t.Errorf("%q with %q: got %q, want %q", c.active, c.devices, got, c.want)
		}
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

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
