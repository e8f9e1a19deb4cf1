package builder

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestWorkDirs leaves a folder behind as a killed build does, and makes a new one
// while another build runs.
func TestWorkDirs(t *testing.T) {
	output := t.TempDir()
	killed, running := makeWorkDir(t, output), makeWorkDir(t, output)
	if err := os.Mkdir(filepath.Join(killed.path, "scratch-amd64"), 0o700); err != nil {
		t.Fatal(err)
	}
	killed.lock.Close()
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(output, workPrefix+"link")); err != nil {
		t.Fatal(err)
	}
	mine := makeWorkDir(t, output)
	wantNames(t, output, running.path, mine.path, workPrefix+"link")
	if _, err := os.Stat(elsewhere); err != nil {
		t.Error(err)
	}
	for _, w := range []*workDir{running, mine} {
		if err := w.remove(); err != nil {
			t.Error(err)
		}
	}
	wantNames(t, output, workPrefix+"link")
}

func makeWorkDir(t *testing.T, output string) *workDir {
	t.Helper()
	w, err := newWorkDir(output)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func wantNames(t *testing.T, dir string, paths ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	for _, p := range paths {
		want = append(want, filepath.Base(p))
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the folder has %q, not %q", got, want)
	}
}
