package source

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"syscall"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/store"
)

// repeated is a stream without end.
type repeated struct {
	unit []byte
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.unit[r.at:])
	r.at = (r.at + n) % len(r.unit)
	return n, nil
}

// header returns the blocks that a header takes.
func header(t *testing.T, h tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A stream without end is cut off whatever it repeats: what a decompressor
// makes of a small file can be one.
func TestEndlessStreams(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pax := map[string]string{"SCHILY.xattr.user.a": strings.Repeat("a", 60_000)}
	for name, x := range map[string]struct {
		unit   []byte
		before string
		want   string
	}{
		"files":          {header(t, tar.Header{Name: "f"}), "", "exceeds 1000 entries"},
		"global headers": {header(t, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": strings.Repeat("c", 4000)}}), "", "longer than its limits allow"},
		"attributes":     {header(t, tar.Header{Name: "f", PAXRecords: pax}), "", "exceed"},
		"trailer":        {[]byte("x"), string(make([]byte, 1024)), "more data follows the end"},
		"zeros":          {[]byte{0}, "", "more data follows the end"},
	} {
		t.Run(name, func(t *testing.T) {
			in := io.MultiReader(strings.NewReader(x.before), &repeated{unit: x.unit})
			err := Tar{Limits: Limits{Entries: 1000, Bytes: 1 << 20}}.Scan(context.Background(), in, s, func(Entry) error { return nil })
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want %q", err, x.want)
			}
		})
	}
}

func TestStream(t *testing.T) {
	for _, l := range []Limits{{}, {Entries: math.MaxInt, Bytes: math.MaxInt64}, {Entries: -1, Bytes: -1}} {
		if n := l.Stream(); n < 2*maxMetadata {
			t.Errorf("%+v: %d", l, n)
		}
	}
}

// A full disk is not the source's fault, and a limit has a remedy of its own.
func TestExplain(t *testing.T) {
	full := Explain(fault.Input, fmt.Errorf("storing: %w", syscall.ENOSPC), "mend it")
	if fault.ClassOf(full) != fault.Unknown || strings.Contains(full.Error(), "mend it") {
		t.Errorf("a full disk: %v", full)
	}
	for err, want := range map[error]string{
		errors.New("bad"):    "bad; mend it",
		Exceeded("too much"): "too much; raise root.limits if so much is wanted",
		fault.Toolf("gone"):  "gone",
	} {
		if got := Explain(fault.Input, err, "mend it"); got.Error() != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
