package catalog

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// readDatabase is a reader of its own: "ID language text" in order.
func readDatabase(data []byte) []string {
	count := int(binary.LittleEndian.Uint64(data[24:]))
	var list []string
	for i := range count {
		item := data[headerSize+i*itemSize:][:itemSize]
		text := string(data[headerSize+count*itemSize+int(binary.LittleEndian.Uint64(item[48:])):])
		text, _, _ = strings.Cut(text, "\x00")
		list = append(list, fmt.Sprintf("%x %s %s", item[:2], strings.TrimRight(string(item[16:48]), "\x00"), text))
	}
	return list
}

const (
	one = "-- 01000000000000000000000000000000"
	two = "-- 0200000000000000000000000000000f"
)

func TestCompile(t *testing.T) {
	data, err := Compile([]File{
		{"a.catalog", "# comment\n; comment\n\n" + two + "\nSubject: two\n\nText\n\n\nmore\n# comment\nend\n\n" + one + "\nSubject: one\n"},
		{"a.de.catalog", one + "\nSubject: eins\n\n" + two + " fr\nSubject: deux\n"},
		{"b.catalog", one + "\nDefined-By: b\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"0100  Defined-By: b\nSubject: one\n", "0100 de Subject: eins\n",
		"0200  Subject: two\n\nText\n\nmore\nend\n", "0200 fr Subject: deux\n",
	}
	if got := readDatabase(data); !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestRefuses(t *testing.T) {
	for _, text := range []string{"text\n", one + "\n\n" + two + "\nx\n", one, "-- 01\nx\n"} {
		if _, err := Compile([]File{{"x.catalog", text}}); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(one + "\nSubject: x\n\ntext\n")
	f.Fuzz(func(t *testing.T, text string) {
		if data, err := Compile([]File{{"x.de.catalog", text}}); err == nil && len(data) < headerSize {
			t.Errorf("%d bytes", len(data))
		}
	})
}
