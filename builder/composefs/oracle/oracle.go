// Package oracle gets the reference implementation of composefs for tests: the
// program mkcomposefs of Debian's package composefs, with the libraries it needs,
// unpacked into the user's cache folder. Nothing is installed.
//
// The archive is the build host's own (apt sources), or BOOTSMITH_DEBIAN_MIRROR;
// its release file is checked against the host's Debian keyring, the index and
// the packages by SHA-256. Only tests import this package.
package oracle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// suite is the Debian suite that has composefs.
const suite = "sid"

// Tool runs the programs of composefs.
type Tool struct {
	dir    string // the unpacked packages
	loader string // their dynamic loader
	libs   string // their library path
}

// Find returns the tool, fetching it when the cache folder of this user doesn't
// have it.
func Find(ctx context.Context) (*Tool, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding the cache folder: %w", err)
	}
	dir := filepath.Join(cache, "bootsmith-test", "composefs")
	if t, err := open(dir); err == nil {
		return t, nil
	}
	if err := fetch(ctx, dir); err != nil {
		return nil, fmt.Errorf("fetching the Debian package composefs: %w", err)
	}
	return open(dir)
}

// open returns the tool unpacked in dir.
func open(dir string) (*Tool, error) {
	loaders, err := filepath.Glob(filepath.Join(dir, "usr/lib/*/ld-linux-*.so.*"))
	if err != nil || len(loaders) != 1 {
		return nil, fmt.Errorf("%q has %d dynamic loaders", dir, len(loaders))
	}
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/mkcomposefs")); err != nil {
		return nil, err
	}
	return &Tool{dir: dir, loader: loaders[0], libs: filepath.Dir(loaders[0])}, nil
}

// Dir returns the folder with the unpacked packages.
func (t *Tool) Dir() string { return t.dir }

// Image runs "mkcomposefs --from-file" on a dump, with further arguments, and
// returns the image.
func (t *Tool) Image(ctx context.Context, dump io.Reader, args ...string) ([]byte, error) {
	f, err := os.CreateTemp("", "oracle")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := t.run(ctx, dump, "mkcomposefs", append(args, "--from-file", "-", f.Name())...); err != nil {
		return nil, err
	}
	return os.ReadFile(f.Name())
}

// FromFolder runs "mkcomposefs" on a folder: it copies the files' contents into
// the folder objects, writes the image, and returns the image's digest as it
// prints it. The caller has to be able to read everything and its attributes.
func (t *Tool) FromFolder(ctx context.Context, dir, objects, image string) (digest string, err error) {
	out, err := t.run(ctx, nil, "mkcomposefs", "--print-digest", "--digest-store="+objects, dir, image)
	return strings.TrimSpace(string(out)), err
}

// Dump runs "composefs-info dump" on an image file and returns the dump.
func (t *Tool) Dump(ctx context.Context, image string) ([]byte, error) {
	return t.run(ctx, nil, "composefs-info", "dump", image)
}

func (t *Tool) run(ctx context.Context, in io.Reader, program string, args ...string) ([]byte, error) {
	args = append([]string{"--library-path", t.libs, filepath.Join(t.dir, "usr/bin", program)}, args...)
	cmd := exec.CommandContext(ctx, t.loader, args...)
	var out, msg bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &msg
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("running %s: %w: %s", program, err, msg.Bytes())
	}
	return out.Bytes(), nil
}
