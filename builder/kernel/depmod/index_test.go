package depmod

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// readIndex is a reader of its own: it returns "priority value" by key.
func readIndex(data []byte) (_ map[string][]string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("reading an index: %v", r)
		}
	}()
	if binary.BigEndian.Uint32(data) != indexMagic || binary.BigEndian.Uint32(data[4:]) != indexVersion {
		return nil, fmt.Errorf("reading an index: magic % x", data[:8])
	}
	found := map[string][]string{}
	var visit func(ref uint32, key string)
	visit = func(ref uint32, key string) {
		at := data[ref&0x0fffffff:]
		text := func() string {
			s, rest, _ := bytes.Cut(at, []byte{0})
			at = rest
			return string(s)
		}
		number := func() uint32 {
			n := binary.BigEndian.Uint32(at)
			at = at[4:]
			return n
		}
		if ref&hasPrefix != 0 {
			key += text()
		}
		if ref&hasChildren != 0 {
			first, last := int(at[0]), int(at[1])
			at = at[2:]
			for c := first; c <= last; c++ {
				if child := number(); child != 0 {
					visit(child, key+string(rune(c)))
				}
			}
		}
		if ref&hasValues != 0 {
			for range number() {
				priority := number()
				found[key] = append(found[key], fmt.Sprint(priority, " ", text()))
			}
		}
	}
	visit(binary.BigEndian.Uint32(data[8:]), "")
	return found, nil
}

func TestIndexKeepsEverything(t *testing.T) {
	root := newNode("")
	want := map[string][]string{}
	for i, key := range []string{"abc", "abd", "ab", "abcd", "", "x", "abc", "ä", "xyz", "xy"} {
		root.insert(key, "v", uint32(i))
		if key != "ä" {
			want[key] = append(want[key], fmt.Sprint(i, " v"))
		}
	}
	got, err := readIndex(root.encode())
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{"a-b[c-d]-e": "a_b[c-d]_e", "plain": "plain"} {
		if got, ok := normalize(in); !ok || got != want {
			t.Errorf("%q became %q, %v", in, got, ok)
		}
	}
	for _, in := range []string{"a[b", "a]b"} {
		if _, ok := normalize(in); ok {
			t.Errorf("%q was taken", in)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add("abc abd ab")
	f.Fuzz(func(t *testing.T, text string) {
		root := newNode("")
		want := map[string]bool{}
		for _, key := range strings.Fields(text) {
			if strings.ContainsFunc(key, func(r rune) bool { return r >= 128 || r == 0 }) {
				continue
			}
			root.insert(key, "v", 0)
			want[key] = true
		}
		got, err := readIndex(root.encode())
		if err != nil || len(got) != len(want) {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	})
}
