package manifest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t testing.TB, data []byte) (*Manifest, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return Read(dir)
}

func TestRead(t *testing.T) {
	want := Manifest{SchemaVersion: SchemaVersion, Platform: "minimal", Artifacts: map[string]File{"raw/x.img": {SHA256: "ab", SizeBytes: 7}}}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(t, data)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := got.Encode(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("read as %s, %v", again, err)
	}
	for text, want := range map[string]string{
		"":                     "EOF",
		"{":                    "EOF",
		`{"schema_version":1}`: "schema_version 1 is not 2",
		`{"schema_version":2,"platform":"` + strings.Repeat("x", maxSize) + `"}`: "EOF",
	} {
		if got, err := read(t, []byte(text)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), FileName) {
			t.Errorf("%.40q: %+v, %v", text, got, err)
		}
	}
	if _, err := Read(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no manifest: %v", err)
	}
}

func TestFamilySize(t *testing.T) {
	m := Manifest{
		Artifacts: map[string]File{"oci/index.json": {SizeBytes: 7}, "oci/blobs/x": {SizeBytes: 100}, "raw/x.img": {SizeBytes: 1000}},
		Families: []Family{
			{Name: "raw", Files: []FamilyFile{{Path: "raw/x.img"}}},
			{Name: "oci", Files: []FamilyFile{{Path: "oci/index.json"}, {Path: "oci/blobs/x"}}},
		},
	}
	for name, want := range map[string]int64{"raw": 1000, "oci": 107, "iso": 0} {
		if got := m.FamilySize(name); got != want {
			t.Errorf("%s: %d bytes, want %d", name, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"schema_version":2,"families":[{"name":"raw","files":[{"path":"raw/x.img"}]}],"artifacts":{"raw/x.img":{"sha256":"","size_bytes":1}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := read(t, data)
		if err != nil {
			return
		}
		one, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := read(t, one)
		if err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
		if two, err := again.Encode(); err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s became %s, %v", one, two, err)
		}
	})
}
