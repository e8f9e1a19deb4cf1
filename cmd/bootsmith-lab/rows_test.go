package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/manifest"
)

// The table tells how large all of a family is, not its main file.
func TestTableSizes(t *testing.T) {
	output := t.TempDir()
	m := manifest.Manifest{
		SchemaVersion: manifest.SchemaVersion,
		Artifacts:     map[string]manifest.File{"oci/index.json": {SizeBytes: 1000}, "oci/blobs/x": {SizeBytes: 5 << 20}},
		Families: []manifest.Family{{Name: "oci", Main: "oci/index.json", Files: []manifest.FamilyFile{
			{Path: "oci/index.json"}, {Path: "oci/blobs/x"},
		}}},
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(output, "amd64"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(output, "amd64", manifest.FileName), data, 0o644); err != nil {
		t.Fatal(err)
	}
	rows := []row{{Family: "oci", Arch: "amd64", SizeBytes: 1000, Status: "published", OCIDigest: "sha256:1"}}
	if err := measure(rows, output); err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := printTable(&table, rows); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "amd64  oci     5.0  sha256:1") {
		t.Errorf("the table is:\n%s", table.String())
	}
	if err := measure([]row{{Family: "oci", Arch: "arm64"}}, output); err == nil {
		t.Error("a build that isn't there has a size")
	}
}
