package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
)

// TestOutputIsRefused names output folders in which a build would replace what is
// not its own, or which it reads; nothing may be changed in them.
func TestOutputIsRefused(t *testing.T) {
	s := newSmall(t)
	s.write(t, "precious/amd64/thesis", "all my work\n")
	s.write(t, "taken/amd64", "a file\n")
	s.write(t, "file", "a file\n")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(s.dir, "overlay"), link); err != nil {
		t.Fatal(err)
	}
	c := s.config(t, true)
	f, p := s.plan(t, c)
	before := filesOf(t, s.dir)
	for output, want := range map[string]string{
		filepath.Join(s.dir, "precious"):   "/precious/amd64\": no build made it",
		filepath.Join(s.dir, "taken"):      "/taken/amd64\": no build made it",
		filepath.Join(s.dir, "file"):       "not a directory",
		filepath.Join(s.dir, "overlay"):    "platform.yaml:5: files: the output folder",
		filepath.Join(link, "a", "build"):  "platform.yaml:5: files: the output folder",
		filepath.Join(s.dir, "root/build"): "platform.yaml:3: root.directory.path: the output folder",
	} {
		_, err := Run(t.Context(), c, f, p, output)
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--output-dir") {
			t.Errorf("%s: got %v", output, err)
		}
	}
	if _, err := Run(t.Context(), c, f, p, ""); fault.ClassOf(err) != fault.Input {
		t.Errorf("got %v", err)
	}
	if after := filesOf(t, s.dir); len(after) != len(before) {
		t.Errorf("there were %d files, and are %d", len(before), len(after))
	}
}

// A build replaces an older build and an empty folder.
func TestOutputIsReplaced(t *testing.T) {
	s := newSmall(t)
	c := s.config(t, true)
	f, p := s.plan(t, c)
	output := filepath.Join(s.dir, "out")
	if err := os.MkdirAll(filepath.Join(output, "amd64"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := Run(t.Context(), c, f, p, output); err != nil {
			t.Error(err)
		}
	}
}

func TestArchitecturesCountOnce(t *testing.T) {
	s := newSmall(t)
	f, _ := s.plan(t, s.config(t, true))
	rows, err := Matrix(Request{File: f, Architectures: []string{"arm64", "amd64", "arm64"}})
	if err != nil || len(rows) != 2 || rows[0].Arch != "arm64" {
		t.Errorf("got %v, %v", rows, err)
	}
}
