//go:build boot

package vm_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// newQEMU returns the beginning of a command line that runs the emulator of a
// Debian release later than the host's may be: it has machines that earlier
// ones lack. The package and what it depends on are unpacked into the user's
// cache folder and run with their own libraries; nothing is installed.
func newQEMU(t *testing.T, debianPackage, program string) []string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	dir, err := unpackClosure(ctx, filepath.Join(cache, "bootsmith-test", "packages"), debianPackage)
	if err != nil {
		t.Fatalf("getting the Debian package %s: %v", debianPackage, err)
	}
	loaders, err := filepath.Glob(filepath.Join(dir, "usr/lib/*/ld-linux-*.so.*"))
	if err != nil || len(loaders) != 1 {
		t.Fatalf("%q has the dynamic loaders %q, %v", dir, loaders, err)
	}
	// Its loadable modules would be looked for among the host's.
	t.Setenv("QEMU_MODULE_DIR", filepath.Join(filepath.Dir(loaders[0]), "qemu"))
	return []string{loaders[0], "--library-path", filepath.Dir(loaders[0]), filepath.Join(dir, "usr/bin", program), "-L", filepath.Join(dir, "usr/share/qemu")}
}

// unpackClosure unpacks a package for the host, with what it depends on, and
// returns the folder.
func unpackClosure(ctx context.Context, cache, name string) (string, error) {
	host, err := arch.Lookup(runtime.GOARCH)
	if err != nil {
		return "", err
	}
	mirror, err := apt.ChooseMirror("", os.Getenv(cli.MirrorVariable), packageSuite, os.DirFS("/"))
	if err != nil {
		return "", err
	}
	s, err := store.Open(filepath.Join(cache, "objects"))
	if err != nil {
		return "", err
	}
	archive := &apt.Archive{
		Mirror: mirror, Suite: packageSuite, Arch: host, CacheDir: cache,
		Client: &http.Client{}, Now: time.Now, MaxAge: 24 * time.Hour,
	}
	found, err := archive.ResolveEach(ctx, []apt.Request{{Names: []string{name}}})
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, p := range found[0].Packages {
		fmt.Fprintln(sum, p.SHA256)
	}
	dir := filepath.Join(cache, fmt.Sprintf("%s-%x", name, sum.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := archive.Fetch(ctx, found[0].Packages, nil); err != nil {
		return "", err
	}
	t := tree.New(0)
	for _, p := range found[0].Packages {
		if err := archive.UnpackInto(ctx, t, s, p); err != nil {
			return "", err
		}
	}
	return dir, writeTree(t, s, dir)
}

// writeTree writes files and symlinks of a tree to a folder, which appears
// whole.
func writeTree(t *tree.Tree, s *store.Store, dir string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "unpack")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	err = t.Walk(func(path string, n *tree.Node) error {
		to := filepath.Join(tmp, filepath.FromSlash(path))
		switch i := n.Inode; {
		case i.IsDir():
			return os.MkdirAll(to, 0o755)
		case i.IsRegular():
			return writeContent(s, i, to)
		case i.Target != "":
			return os.Symlink(i.Target, to)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

func writeContent(s *store.Store, i *tree.Inode, to string) error {
	r, err := s.Open(i.Content)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, os.FileMode(i.Mode&0o777))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
