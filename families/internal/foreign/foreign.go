// Package foreign runs other people's programs in tests, so that what our
// writers make is judged by someone else's reader. A missing program fails the
// test: a skipped check must not look like a passed one.
package foreign

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/powernode/bootsmith/families/internal/extent"
)

// Run runs a program with a fixed environment and returns its standard output.
// It fails the test when the program (of the named Debian package) is missing
// or ends with an error.
func Run(t testing.TB, debianPackage, name string, args ...string) string {
	t.Helper()
	out, err := Try(t, debianPackage, name, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

// Try is Run for programs that may end with an error; it returns the error with
// both outputs.
func Try(t testing.TB, debianPackage, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(find(t, debianPackage, name), args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// find looks into the sbin folders as well, which users' PATH may lack.
func find(t testing.TB, debianPackage, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatalf("%s is missing; install the Debian package %s", name, debianPackage)
	return ""
}

// Save writes an image to a sparse file in a folder of the test and returns its
// path.
func Save(t testing.TB, image *extent.Image) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "*.img")
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Copy(t.Context(), sparse{f}); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(image.Size()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// sparse makes holes of what is skipped.
type sparse struct{ *os.File }

func (s sparse) Skip(n int64) error {
	_, err := s.Seek(n, 1)
	return err
}
