// Package finish does to an unpacked root what maintainer scripts do to an
// installed one, without running any program of it: the steps are declared
// here, in Go, and each works from the data that the packages ship. So a root
// for any architecture is finished on any host, and always the same way.
//
// A step does nothing in a root that lacks its data, and never replaces a file
// that is there already: what the definition lays over the root comes first and
// wins.
//
// A root whose scripts did run differs in these, as a test that compares the
// platforms debian-13-server and debian-13-bootstrap knows:
//
//   - Ids of system accounts are counted there, and made from names here.
//   - Records of helpers are missing: of apt, debconf, ucf, deb-systemd-helper,
//     update-shells. dpkg's database says "unpacked", and has no triggers.
//   - Templates without an entry are missing, such as /etc/hosts.allow, and the
//     links of System V's init.
//   - What systemd-tmpfiles makes at every boot isn't made before.
//   - Compiled databases hold the same in another order.
//
// Not known are scripts that do more than register units, alternatives and what
// the steps are for: the root of packages that need theirs is to be bootstrapped.
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
	// State is what was done to the root before.
	State State
	// KeepKernels tells that the root's own kernel is what boots: its image
	// stays.
	KeepKernels bool
	// Remember returns the value that is cached under key, or calls make and
	// caches what it returns. nil: nothing is cached.
	Remember func(key string, make func() ([]byte, error)) ([]byte, error)
}

// State is what was done to a root before it is finished.
type State int

// The states. Each needs fewer steps than the one before.
const (
	// Unpacked: packages were unpacked, and nothing of theirs has run.
	Unpacked State = iota
	// Bootstrapped: packages were installed, and their scripts have run.
	Bootstrapped
	// Foreign: the root was made elsewhere, and is taken as it is.
	Foreign
)

// Step is one finishing step.
type Step struct {
	Name string
	// Needs is a path that the root must have, or the step is left out; "":
	// none.
	Needs string
	// Until is the last of the states in which a root needs the step.
	Until State
	run   func(ctx context.Context, r *root, in Input) error
}

// Steps returns the steps in the order in which they run.
func Steps() []Step {
	return []Step{
		{"directories", "usr/share/base-files", Bootstrapped, makeDirectories},
		{"base accounts", "usr/share/base-passwd/passwd.master", Unpacked, makeBaseAccounts},
		{"system accounts", "usr/lib/sysusers.d", Bootstrapped, makeSystemAccounts},
		{"users", "", Bootstrapped, makeUsers},
		{"set-id programs", "etc/passwd", Unpacked, applySetID},
		{"passwords", "etc/passwd", Bootstrapped, makeShadow},
		{"configuration files", "", Unpacked, installDefaults},
		{"shells", "usr/share/debianutils/shells", Unpacked, makeShells},
		{"PAM", "usr/share/pam-configs", Unpacked, makePAM},
		{"name services", "usr/share/libc-bin/nsswitch.conf", Unpacked, makeNameServices},
		{"alternatives", "var/lib/dpkg/info", Unpacked, makeAlternatives},
		{"CA certificates", "usr/share/ca-certificates", Unpacked, makeCertificates},
		{"identity", "usr/share/base-files", Bootstrapped, makeIdentity},
		{"SSH host keys", "usr/lib/systemd/system/sshd-keygen.service", Bootstrapped, makeKeysAtBoot},
		{"units", "usr/lib/systemd/system", Bootstrapped, enableUnits},
		{"kernel modules", "usr/lib/modules", Foreign, indexModules},
		{"hardware database", "usr/lib/udev/hwdb.d", Unpacked, makeHardwareDatabase},
		{"message catalog", "usr/lib/systemd/catalog", Unpacked, makeCatalog},
		{"library cache", "etc/ld.so.conf", Unpacked, makeLibraryCache},
		{"update stamps", "usr/lib/systemd/systemd", Bootstrapped, stampUpdates},
	}
}

// Run runs all steps on a root whose contents are in s.
func Run(ctx context.Context, t *tree.Tree, s Store, in Input) error {
	r := &root{tree: t, store: s, mtime: in.Epoch}
	for _, step := range Steps() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if step.Until < in.State {
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
