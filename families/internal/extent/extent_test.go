package extent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// memory is a Writer that remembers how many bytes were skipped.
type memory struct {
	bytes.Buffer
	skipped int64
}

func (m *memory) Skip(n int64) error {
	m.skipped += n
	_, err := m.Write(make([]byte, n))
	return err
}

func opener(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

func copied(t *testing.T, m *Image) *memory {
	t.Helper()
	var out memory
	if err := m.Copy(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func streamed(t *testing.T, m *Image) []byte {
	t.Helper()
	r, err := m.NewReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(iotest.OneByteReader(r))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNested(t *testing.T) {
	inner := New(8)
	inner.AddBytes(2, []byte("in"))
	outer := New(20)
	outer.AddFile(15, 3, "tail", opener([]byte("end")))
	outer.AddImage(4, "inner", inner)
	outer.AddBytes(0, []byte("head"))
	outer.AddFile(15, 0, "nothing", opener(nil))
	want := `head\0\0in\0\0\0\0\0\0\0end\0\0`
	want = strings.ReplaceAll(want, `\0`, "\x00")
	out := copied(t, outer)
	if out.String() != want {
		t.Errorf("Copy: %q, want %q", out.String(), want)
	}
	if out.skipped != 11 {
		t.Errorf("skipped %d bytes, want 11", out.skipped)
	}
	if got := streamed(t, outer); string(got) != want {
		t.Errorf("Read: %q, want %q", got, want)
	}
}

// TestRandom lays random pieces into a plain byte slice as well and compares.
func TestRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		image, want := randomImage(rng, 2)
		if got := copied(t, image).Bytes(); !bytes.Equal(got, want) {
			t.Fatal("Copy differs")
		}
		if got := streamed(t, image); !bytes.Equal(got, want) {
			t.Fatal("Read differs")
		}
	}
}

func randomImage(rng *rand.Rand, depth int) (*Image, []byte) {
	type part struct {
		offset int64
		add    func(*Image)
	}
	var parts []part
	var want []byte
	for range rng.IntN(6) {
		want = append(want, make([]byte, rng.IntN(9))...)
		at := int64(len(want))
		data := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, rng.IntN(40))
		switch kind := rng.IntN(3); {
		case kind == 0 && depth > 0:
			image, bytes := randomImage(rng, depth-1)
			data = bytes
			parts = append(parts, part{at, func(m *Image) { m.AddImage(at, "image", image) }})
		case kind == 1:
			parts = append(parts, part{at, func(m *Image) { m.AddBytes(at, data) }})
		default:
			parts = append(parts, part{at, func(m *Image) { m.AddFile(at, int64(len(data)), "file", opener(data)) }})
		}
		want = append(want, data...)
	}
	want = append(want, make([]byte, rng.IntN(9))...)
	rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	image := New(int64(len(want)))
	for _, p := range parts {
		p.add(image)
	}
	return image, slices.Clone(want)
}

func TestBadImages(t *testing.T) {
	for name, tc := range map[string]struct {
		build func(*Image)
		want  string
	}{
		"overlap":   {func(m *Image) { m.AddBytes(0, []byte("abc")); m.AddBytes(2, []byte("d")) }, "first 3 are taken"},
		"too long":  {func(m *Image) { m.AddBytes(8, []byte("abc")) }, "has 10 bytes"},
		"negative":  {func(m *Image) { m.AddBytes(-1, []byte("a")) }, "at byte -1"},
		"bad size":  {func(m *Image) { m.AddFile(1, -1, "f", nil) }, "-1 bytes"},
		"inner":     {func(m *Image) { i := New(1); i.AddBytes(0, []byte("ab")); m.AddImage(0, "esp", i) }, `laying out "esp"`},
		"short":     {func(m *Image) { m.AddFile(0, 5, "f", opener([]byte("four"))) }, "4 bytes, not 5"},
		"long":      {func(m *Image) { m.AddFile(0, 3, "f", opener([]byte("four"))) }, "more than 3"},
		"unopened":  {func(m *Image) { m.AddFile(0, 3, "f", failing) }, "no such luck"},
		"unreadble": {func(m *Image) { m.AddFile(0, 3, "f", unreadable) }, "no such luck"},
	} {
		t.Run(name, func(t *testing.T) {
			m := New(10)
			tc.build(m)
			err := m.Copy(t.Context(), &memory{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Copy: %v, want %q", err, tc.want)
			}
			r, err := m.NewReader(t.Context())
			if err == nil {
				_, err = io.ReadAll(r)
				r.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Read: %v, want %q", err, tc.want)
			}
		})
	}
}

var errLuck = errors.New("no such luck")

func failing() (io.ReadCloser, error) { return nil, errLuck }

func unreadable() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(errLuck)), nil }

// endless is a file whose reads cancel a context.
type endless struct{ cancel context.CancelFunc }

func (e endless) Read(b []byte) (int, error) { e.cancel(); return len(b), nil }
func (e endless) Close() error               { return nil }

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := New(1 << 40)
	m.AddFile(0, 1<<40, "endless", func() (io.ReadCloser, error) { return endless{cancel}, nil })
	if err := m.Copy(ctx, &memory{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Copy: %v, want %v", err, context.Canceled)
	}
	r, err := m.NewReader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v, want %v", err, context.Canceled)
	}
}
