package builder

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWorkDirs leaves a folder behind as a killed build does, and makes a new one
// while another build runs.
func TestWorkDirs(t *testing.T) {
	output := t.TempDir()
	killed, running := mustWorkDir(t, output), mustWorkDir(t, output)
	if err := os.Mkdir(filepath.Join(killed.path, "scratch-amd64"), 0o700); err != nil {
		t.Fatal(err)
	}
	killed.lock.Close()
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(output, workPrefix+"link")); err != nil {
		t.Fatal(err)
	}
	mine := mustWorkDir(t, output)
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

// TestReadOnlyLeftovers deletes, as an ordinary user, what a build script had made
// read-only when its build was killed.
func TestReadOnlyLeftovers(t *testing.T) {
	output := t.TempDir()
	asOrdinaryUser(t, output)
	killed := mustWorkDir(t, output)
	dir := filepath.Join(killed.path, "root", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "sh"), nil, 0o644), os.Chmod(dir, 0o555), killed.lock.Close()); err != nil {
		t.Fatal(err)
	}
	if err := mustWorkDir(t, output).remove(); err != nil {
		t.Error(err)
	}
	wantNames(t, output)
}

// asOrdinaryUser gives a folder to a user without rights, and has the test do to
// files what that user can do (setfsuid(2)), when it runs as root.
func asOrdinaryUser(t *testing.T, dir string) {
	t.Helper()
	const nobody = 65534
	if os.Geteuid() != 0 {
		return
	}
	if err := errors.Join(os.Chown(dir, nobody, nobody), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = unix.SetfsuidRetUid(0)
		runtime.UnlockOSThread()
	})
}

// TestPublishedAtOnce has builds replace the same folder at the same time.
func TestPublishedAtOnce(t *testing.T) {
	output := t.TempDir()
	p := &Plan{Targets: []Target{{Arch: "amd64"}}}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				work := t.TempDir()
				err := os.MkdirAll(filepath.Join(work, "amd64", "raw"), 0o755)
				if err = errors.Join(err, publishFolders(p, work, output)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func mustWorkDir(t *testing.T, output string) *workDir {
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
