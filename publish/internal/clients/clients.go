// Package clients gets independent clients for tests: the programs cosign and
// oras of Debian's packages, unpacked into the user's cache folder. Nothing is
// installed.
//
// The archive is the build host's own (apt sources), or BOOTSMITH_DEBIAN_MIRROR;
// it is verified as every archive is (package apt). Only tests import this
// package.
package clients

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// suite is the Debian release that has cosign 2.5 and oras 1.2.
const suite = "trixie"

// Tool is a program of a Debian package.
type Tool struct {
	program string
	loader  []string // the dynamic loader and its arguments; empty for a static program
}

// Find returns the program that has the name of its package, fetching it when the
// cache folder of this user doesn't have it.
func Find(ctx context.Context, name string) (*Tool, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding the cache folder: %w", err)
	}
	top := filepath.Join(cache, "bootsmith", "clients")
	dir := filepath.Join(top, suite+"-"+name)
	if t, err := open(dir, name); err == nil {
		return t, nil
	}
	if err := fetch(ctx, top, dir, name); err != nil {
		return nil, fmt.Errorf("fetching the Debian package %s: %w", name, err)
	}
	return open(dir, name)
}

// open returns the tool unpacked in dir.
func open(dir, name string) (*Tool, error) {
	t := &Tool{program: filepath.Join(dir, "usr/bin", name)}
	dynamic, err := isDynamic(t.program)
	if err != nil || !dynamic {
		return t, err
	}
	loaders, err := filepath.Glob(filepath.Join(dir, "usr/lib/*/ld-linux-*.so.*"))
	if err != nil || len(loaders) != 1 {
		return nil, fmt.Errorf("%q has %d dynamic loaders", dir, len(loaders))
	}
	t.loader = []string{loaders[0], "--library-path", filepath.Dir(loaders[0])}
	return t, nil
}

// isDynamic tells whether an ELF program names a dynamic loader.
func isDynamic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true, nil
		}
	}
	return false, nil
}

// fetch unpacks a package and the C library into dir.
func fetch(ctx context.Context, top, dir, name string) error {
	row, err := arch.Lookup(runtime.GOARCH)
	if err != nil {
		return err
	}
	mirror, err := apt.ChooseMirror("", os.Getenv("BOOTSMITH_DEBIAN_MIRROR"), suite, os.DirFS("/"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(top, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(top, "fetch")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	a := &apt.Archive{Mirror: mirror, Suite: suite, Arch: row, CacheDir: filepath.Join(tmp, "cache"), Client: &http.Client{}, Now: time.Now}
	objects, err := store.Open(filepath.Join(tmp, "objects"))
	if err != nil {
		return err
	}
	found, err := a.ResolveExact(ctx, []string{name, "libc6"})
	if err != nil {
		return err
	}
	files := tree.New(0)
	for _, p := range found.Packages {
		if err := a.UnpackInto(ctx, files, objects, p); err != nil {
			return err
		}
	}
	root := filepath.Join(tmp, "root")
	if err := extract(files, objects, root); err != nil {
		return err
	}
	// Another test may have been faster; its folder is as good.
	if err := os.Rename(root, dir); err != nil {
		if _, openErr := open(dir, name); openErr != nil {
			return errors.Join(err, openErr)
		}
	}
	return nil
}

// extract writes what lies below usr/bin and usr/lib: regular files and symbolic
// links. The tree's names and the root keep it inside.
func extract(files *tree.Tree, objects *store.Store, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return files.Walk(func(name string, n *tree.Node) error {
		switch {
		case name == "" || name == "usr":
			return nil
		case name != "usr/bin" && name != "usr/lib" && !strings.HasPrefix(name, "usr/bin/") && !strings.HasPrefix(name, "usr/lib/"):
			return fs.SkipDir
		case n.Inode.IsDir():
			return root.MkdirAll(name, 0o755)
		case n.Inode.IsSymlink():
			return root.Symlink(n.Inode.Target, name)
		case n.Inode.IsRegular():
			return copyOut(objects, n.Inode, root, name)
		}
		return nil
	})
}

func copyOut(objects *store.Store, inode *tree.Inode, root *os.Root, name string) error {
	in, err := objects.Open(inode.Content)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, os.FileMode(inode.Mode&0o777))
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Command returns the command that runs the tool with arguments.
func (t *Tool) Command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(append(append([]string(nil), t.loader...), t.program), args...)
	return exec.CommandContext(ctx, argv[0], argv[1:]...)
}

// Run runs the tool in a folder with more environment variables, and returns
// what it printed to standard output; what it printed to standard error is in
// the error.
func (t *Tool) Run(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	cmd := t.Command(ctx, args...)
	var out, msg bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), &out, &msg
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("running %s %q: %w: %s", filepath.Base(t.program), args, err, msg.Bytes())
	}
	return out.String(), nil
}
