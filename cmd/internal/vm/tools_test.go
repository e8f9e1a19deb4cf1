//go:build boot

package vm_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// runProgram runs an installed program; a missing one is an error that names
// its package.
func runProgram(debianPackage, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is missing: install the Debian package %s", name, debianPackage)
	}
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", fmt.Errorf("running %s: %w: %s", cmd, err, exit.Stderr)
	}
	return string(out), err
}

// packageFile returns a file of a Debian package that is newer than the host's,
// or that the host doesn't have: it is unpacked into the user's cache folder.
func packageFile(t *testing.T, a arch.Arch, name, path string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	file, err := unpackFile(ctx, filepath.Join(cache, "bootsmith-test", "packages"), a, name, path)
	if err != nil {
		t.Fatalf("getting %s of the Debian package %s: %v", path, name, err)
	}
	return file
}

// packageSuite is where packages come from.
const packageSuite = "trixie"

func unpackFile(ctx context.Context, cache string, a arch.Arch, name, path string) (string, error) {
	mirror, err := apt.ChooseMirror("", os.Getenv(cli.MirrorVariable), packageSuite, os.DirFS("/"))
	if err != nil {
		return "", err
	}
	s, err := store.Open(filepath.Join(cache, "objects"))
	if err != nil {
		return "", err
	}
	archive := &apt.Archive{
		Mirror: mirror, Suite: packageSuite, Arch: a, CacheDir: cache,
		Client: &http.Client{}, Now: time.Now, MaxAge: 24 * time.Hour,
	}
	found, err := archive.ResolveExact(ctx, []string{name})
	if err != nil {
		return "", err
	}
	t := tree.New(0)
	if err := archive.UnpackInto(ctx, t, s, found.Packages[0]); err != nil {
		return "", err
	}
	n, err := t.Resolve(path)
	if err != nil {
		return "", err
	}
	return copyOut(s, n.Inode.Content, filepath.Join(cache, fmt.Sprintf("%x", n.Inode.Content.SHA256)))
}

// copyOut copies an object to a file, which appears whole.
func copyOut(s *store.Store, c tree.Content, path string) (_ string, err error) {
	r, err := s.Open(c)
	if err != nil {
		return "", err
	}
	defer r.Close()
	f, err := os.CreateTemp(filepath.Dir(path), "copy")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}
