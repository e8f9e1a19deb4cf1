// Package bootstrap makes a root with mmdebstrap: packages are installed, and
// their maintainer scripts run, in a chroot of a user namespace, or, for root,
// of a mount namespace.
//
// Which packages is decided before: they are downloaded and verified by package
// apt, and mmdebstrap gets them as a local repository that holds these and no
// others. So it needs no network and no keys, and installs what the plan says.
// Its output is read as a stream. What differs from one run to the next, or
// tells of the build host, is removed (see Clean).
//
// Maintainer scripts and hooks run with these variables and no others:
//
//	ARCH               the architecture: amd64, arm64
//	SOURCE_DATE_EPOCH  the build's time stamp, seconds since 1970
//	BOOTSMITH_PLATFORM the platform's name
//	BOOTSMITH_MACHINE  the kernel's name of the architecture: x86_64, aarch64
//	PATH, HOME=/root, LC_ALL=C.UTF-8, TZ=UTC
//
// and those that mmdebstrap(1) adds. A hook is an executable file. It is copied,
// so that the namespace's users can read it wherever it is, and started without
// a shell, with the root's folder as its only argument.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/program"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Archive has the packages; *apt.Archive is one.
type Archive interface {
	// Open opens a package's .deb file after comparing all its bytes with the
	// digest.
	Open(ctx context.Context, p apt.Package) (*os.File, error)
}

// Source is a root that mmdebstrap makes.
type Source struct {
	// Packages are all that is installed: essential packages, what is wanted,
	// and what these depend on.
	Packages []apt.Package
	Archive  Archive
	Hooks    []Hook
	Platform string
	Arch     arch.Arch
	// Timeout is how long mmdebstrap may take.
	Timeout time.Duration
	Host    Host
	Limits  source.Limits
	// Log takes what mmdebstrap, maintainer scripts and hooks print, line by
	// line.
	Log func(line string)
}

// formatVersion is part of the pin: raise it when the same packages and hooks
// give another root.
const formatVersion = 1

// Pin returns the digest, "sha256:<hex>", of what makes the root besides its
// packages, which a plan lists: the hooks.
func (b Source) Pin(_ context.Context, _ *store.Store, _ int64) (string, error) {
	_, pin, err := b.readHooks()
	return pin, err
}

// Read makes the root. The hooks must still have the digest that Pin returned.
// What is missing on the build host is an error of class fault.Tool.
func (b Source) Read(ctx context.Context, s *store.Store, epoch int64, pin string) (_ *tree.Tree, err error) {
	if err := b.Host.check(b.Arch); err != nil {
		return nil, err
	}
	scripts, now, err := b.readHooks()
	if err != nil {
		return nil, err
	}
	if now != pin {
		return nil, fault.Inputf("bootstrapping the root: a hook has changed since the plan was made").WithFix("build again")
	}
	work, err := b.Host.workDir()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Host.removeAll(work)) }()
	if err := writeRepository(ctx, filepath.Join(work, repositoryDir), b.Archive, b.Packages); err != nil {
		return nil, fmt.Errorf("preparing the packages for mmdebstrap: %w", err)
	}
	args, err := writeHooks(work, scripts)
	if err != nil {
		return nil, fmt.Errorf("copying the hooks: %w", err)
	}
	started := b.Host.Now().Unix()
	t, err := b.run(ctx, s, epoch, work, args)
	if err != nil {
		return nil, err
	}
	if err := checkInstalled(t, s, b.Packages, len(b.Hooks) > 0); err != nil {
		return nil, err
	}
	return t, Clean(t, s, epoch, started)
}

// run runs mmdebstrap and reads its output.
func (b Source) run(ctx context.Context, s *store.Store, epoch int64, work string, hooks []string) (*tree.Tree, error) {
	log := &failureLog{next: b.Log}
	t, err := program.Tar(ctx, s, epoch, b.Limits, "standard output", func(out *os.File) program.Program {
		return program.Program{
			Path: b.Host.find("mmdebstrap"), Args: b.arguments(work, hooks), Dir: work, Env: b.environment(epoch, work),
			Stdout: out, Timeout: b.Timeout, TimeoutField: "root.bootstrap.timeout",
			Grace: grace, Log: log.line,
		}
	})
	return t, log.explain(err)
}

// grace is how long mmdebstrap may take to delete its chroot.
const grace = 30 * time.Second

// arguments returns mmdebstrap's arguments. The essential packages are installed
// first, then all others: the repository has no more than these.
func (b Source) arguments(work string, hooks []string) []string {
	var names []string
	for _, p := range b.Packages {
		names = append(names, p.Name)
	}
	args := []string{
		"--mode=unshare", "--variant=essential", "--format=tar", "--architectures=" + b.Arch.Name,
		"--include=" + strings.Join(names, ","),
		// A chroot that is about to be deleted need not survive a power cut.
		"--dpkgopt=force-unsafe-io",
		// Host.check has looked, in a way that needs no further tools.
		"--skip=check/qemu",
	}
	return append(append(args, hooks...), "", "-", "deb [trusted=yes] copy:"+filepath.Join(work, repositoryDir)+" ./")
}

func (b Source) environment(epoch int64, work string) []string {
	return []string{
		"ARCH=" + b.Arch.Name,
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(epoch, 10),
		"BOOTSMITH_PLATFORM=" + b.Platform,
		"BOOTSMITH_MACHINE=" + b.Arch.Machine,
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC",
		"TMPDIR=" + work, // mmdebstrap's alone: it hides it from what it runs
	}
}
