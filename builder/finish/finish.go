// Package finish does to an unpacked root what maintainer scripts do to an
// installed one, without running any program of it: the steps are declared
// here, in Go, and each works from the data that the packages ship. So a root
// for any architecture is finished on any host, and always the same way.
//
// A step does nothing in a root that lacks its data, and never replaces a file
// that is there already: what the definition lays over the root comes first and
// wins.
package finish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/tree"
)

// Store keeps file contents; *store.Store is one.
type Store interface {
	Put(r io.Reader) (c tree.Content, size int64, err error)
	Open(c tree.Content) (io.ReadCloser, error)
}

// Input is what the steps take from the definition and the build.
type Input struct {
	Arch arch.Arch
	// Hostname is the machine's name until the network gives it another.
	Hostname string
	Users    []spec.User
	// Epoch is the modification time of what is made, and today's date where
	// one is written down, in seconds since 1970.
	Epoch int64
	// Installed tells that the root's own scripts have run already.
	Installed bool
	// KeepKernels tells that the root's own kernel is what boots: its image
	// stays.
	KeepKernels bool
	// Remember returns the value that is cached under key, or calls make and
	// caches what it returns. nil: nothing is cached.
	Remember func(key string, make func() ([]byte, error)) ([]byte, error)
}

// Step is one finishing step.
type Step struct {
	Name string
	// Needs is a path that the root must have, or the step is left out; "":
	// none.
	Needs string
	// Installed tells that the step is for installed roots, too: for what the
	// build adds to them.
	Installed bool
	run       func(ctx context.Context, r *root, in Input) error
}

// Steps returns the steps in the order in which they run.
func Steps() []Step {
	return []Step{
		{"directories", "usr/share/base-files", false, makeDirectories},
		{"base accounts", "usr/share/base-passwd/passwd.master", false, makeBaseAccounts},
		{"system accounts", "usr/lib/sysusers.d", false, makeSystemAccounts},
		{"users", "", false, makeUsers},
		{"set-id programs", "etc/passwd", false, applySetID},
		{"passwords", "etc/passwd", false, makeShadow},
		{"configuration files", "", false, installDefaults},
		{"shells", "usr/share/debianutils/shells", false, makeShells},
		{"PAM", "usr/share/pam-configs", false, makePAM},
		{"name services", "usr/share/libc-bin/nsswitch.conf", false, makeNameServices},
		{"alternatives", "var/lib/dpkg/info", false, makeAlternatives},
		{"CA certificates", "usr/share/ca-certificates", false, makeCertificates},
		{"identity", "usr/share/base-files", false, makeIdentity},
		{"SSH host keys", "usr/lib/systemd/system/sshd-keygen.service", false, makeKeysAtBoot},
		{"units", "usr/lib/systemd/system", false, enableUnits},
		{"kernel modules", "usr/lib/modules", true, indexModules},
		{"hardware database", "usr/lib/udev/hwdb.d", false, makeHardwareDatabase},
		{"message catalog", "usr/lib/systemd/catalog", false, makeCatalog},
		{"library cache", "etc/ld.so.conf", false, makeLibraryCache},
		{"update stamps", "usr/lib/systemd/systemd", false, stampUpdates},
	}
}

// Run runs all steps on a root whose contents are in s.
func Run(ctx context.Context, t *tree.Tree, s Store, in Input) error {
	r := &root{tree: t, store: s, mtime: in.Epoch}
	for _, step := range Steps() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if in.Installed && !step.Installed {
			continue
		}
		if step.Needs != "" {
			if _, err := t.Resolve(step.Needs); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		if err := step.run(ctx, r, in); err != nil {
			return fmt.Errorf("finishing the root: %s: %w", step.Name, err)
		}
	}
	return nil
}
