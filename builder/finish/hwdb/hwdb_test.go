package hwdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// readDatabase is a reader of its own: properties by match, as "key=value
// file:line priority".
func readDatabase(data []byte) (_ map[string][]string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("reading a database: %v", r)
		}
	}()
	u64 := func(at uint64) uint64 { return binary.LittleEndian.Uint64(data[at:]) }
	text := func(at uint64) string {
		s, _, _ := bytes.Cut(data[at:], []byte{0})
		return string(s)
	}
	if string(data[:8]) != "KSLPHHRH" || u64(16) != uint64(len(data)) || u64(24)+u64(64)+u64(72) != uint64(len(data)) {
		return nil, fmt.Errorf("reading a database: sizes in % x", data[:80])
	}
	found := map[string][]string{}
	var visit func(at uint64, match string)
	visit = func(at uint64, match string) {
		match += text(u64(at))
		children, values := uint64(data[at+8]), u64(at+16)
		at += u64(32)
		for range children {
			visit(u64(at+8), match+string([]byte{data[at]}))
			at += u64(40)
		}
		for range values {
			line, priority := binary.LittleEndian.Uint32(data[at+24:]), binary.LittleEndian.Uint16(data[at+28:])
			found[match] = append(found[match], fmt.Sprintf("%s=%s %s:%d %d", text(u64(at)), text(u64(at+8)), text(u64(at+16)), line, priority))
			at += u64(48)
		}
	}
	visit(u64(56), "")
	return found, nil
}

func TestCompile(t *testing.T) {
	data, err := Compile([]File{
		{"/a.hwdb", "# comment\n\nusb:v1D6B*\n ID_VENDOR=Linux # comment\n  ID_B=2\n\nusb:v1D6Bp0001*\nusb:v1D6Bp0002*\n ID_MODEL=root hub\n"},
		{"/b.hwdb", "usb:v1D6B*\n ID_VENDOR=Other\n ID_A=\n\n\nöther\n X=ü\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readDatabase(data)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"usb:v1D6B*":      {" ID_A= /b.hwdb:3 2", " ID_B=2 /a.hwdb:5 1", " ID_VENDOR=Other /b.hwdb:2 2"},
		"usb:v1D6Bp0001*": {" ID_MODEL=root hub /a.hwdb:9 1"},
		"usb:v1D6Bp0002*": {" ID_MODEL=root hub /a.hwdb:9 1"},
		"öther":           {" X=ü /b.hwdb:7 2"},
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestRefuses(t *testing.T) {
	for text, want := range map[string]string{
		" A=1\n":       "line 1: a match was expected",
		"m\n\n":        "line 2: a property was expected",
		"m\n A=1\nn\n": "line 3: a property or an empty line was expected",
		"m\n A\n":      "line 2: a property has no key",
		"m\n =1\n":     "line 2: a property has no key",
	} {
		if _, err := Compile([]File{{"/x.hwdb", text}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("a*\nab\n X=1\n\nabc\n Y=2\n")
	f.Fuzz(func(t *testing.T, text string) {
		data, err := Compile([]File{{"/x.hwdb", text}})
		if err != nil || strings.Contains(text, "\x00") {
			return
		}
		if _, err := readDatabase(data); err != nil {
			t.Error(err)
		}
	})
}
