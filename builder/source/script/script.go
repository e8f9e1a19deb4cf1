// Package script makes a root with the platform's own build script.
//
// The contract: the script is started directly (no shell of ours), in the
// definition's folder, as the building user, with a umask of 022, nothing on
// standard input, no open files of ours, and with these variables and no others:
//
//	ARCH               the architecture: amd64, arm64
//	SOURCE_DATE_EPOCH  the build's time stamp, seconds since 1970
//	BOOTSMITH_PLATFORM the platform's name
//	BOOTSMITH_MACHINE  the kernel's name of the architecture: x86_64, aarch64
//	BOOTSMITH_OUTPUT   what the script has to make: tar or root
//	BOOTSMITH_ROOT     for root: an empty folder, which the script fills
//	PATH               the build host's
//	HOME, TMPDIR       empty folders, deleted when the build ends
//	LANG=C.UTF-8, TZ=UTC
//
// With output tar, it writes a tar archive, compressed or not, to file
// descriptor 3. What it prints is the build log. A status other than 0, and a
// script that takes longer than its time limit, fail the build. Processes that
// it leaves behind are killed, except those that made themselves a session of
// their own: they don't hold up the build.
//
// Times later than SOURCE_DATE_EPOCH become SOURCE_DATE_EPOCH. Whether the
// output is otherwise the same every time is up to the script: a plan holds the
// script's digest, not that of what it makes.
package script

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/directory"
	"github.com/powernode/bootsmith/builder/source/program"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// What a script can make.
const (
	OutputTar  = "tar"
	OutputRoot = "root"
)

// Source is a build script.
type Source struct {
	// Path is the script's file, Dir the folder in which it runs.
	Path, Dir string
	// Output is OutputTar or OutputRoot.
	Output   string
	Timeout  time.Duration
	Platform string
	Arch     arch.Arch
	// SearchPath is the script's PATH.
	SearchPath string
	// Scratch is a folder for its files, which Read makes and deletes.
	Scratch string
	// UID and GID are the building user's: in a filled folder, they become
	// root.
	UID, GID uint32
	Limits   source.Limits
	// Log takes what the script prints, line by line.
	Log func(line string)
}

// Pin returns the script's digest, "sha256:<hex>".
func (p Source) Pin(ctx context.Context, _ *store.Store, _ int64) (string, error) {
	info, err := os.Stat(p.Path)
	if err != nil {
		return "", fault.Inputf("reading the script: %w", err).WithFix("correct root.script.path")
	}
	if !info.Mode().IsRegular() {
		return "", fault.Inputf("reading the script %q: it is not a file", p.Path).WithFix("correct root.script.path")
	}
	if info.Mode()&0o111 == 0 {
		return "", fault.Inputf("reading the script %q: it is not executable", p.Path).WithFix("run chmod +x on it")
	}
	f, err := os.Open(p.Path)
	if err != nil {
		return "", fault.Inputf("reading the script: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, source.WithContext(ctx, f)); err != nil {
		return "", fmt.Errorf("reading %q: %w", p.Path, err)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// Read runs the script and reads what it made. The script must still have the
// digest that Pin returned.
func (p Source) Read(ctx context.Context, s *store.Store, epoch int64, pin string) (_ *tree.Tree, err error) {
	now, err := p.Pin(ctx, s, epoch)
	if err != nil {
		return nil, err
	}
	if now != pin {
		return nil, fault.Inputf("running %q: the script has changed since the plan was made", p.Path).WithFix("build again")
	}
	for _, dir := range []string{p.Scratch, p.home(), p.temp(), p.root()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, fmt.Errorf("running %q: %w", p.Path, err)
		}
	}
	if err := os.Chmod(p.root(), 0o755); err != nil { // whatever our umask is
		return nil, fmt.Errorf("running %q: %w", p.Path, err)
	}
	defer func() { err = errors.Join(err, program.RemoveAll(p.Scratch)) }()
	var t *tree.Tree
	if p.Output == OutputRoot {
		t, err = p.fillRoot(ctx, s, epoch)
	} else {
		t, err = p.readTar(ctx, s, epoch)
	}
	if err != nil {
		return nil, err
	}
	source.Clamp(t, epoch)
	return t, nil
}

func (p Source) home() string { return filepath.Join(p.Scratch, "home") }
func (p Source) temp() string { return filepath.Join(p.Scratch, "tmp") }
func (p Source) root() string { return filepath.Join(p.Scratch, "root") }

func (p Source) environment(epoch int64) []string {
	env := []string{
		"ARCH=" + p.Arch.Name,
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(epoch, 10),
		"BOOTSMITH_PLATFORM=" + p.Platform,
		"BOOTSMITH_MACHINE=" + p.Arch.Machine,
		"BOOTSMITH_OUTPUT=" + p.Output,
		"PATH=" + p.SearchPath,
		"HOME=" + p.home(),
		"TMPDIR=" + p.temp(),
		"LANG=C.UTF-8", "TZ=UTC",
	}
	if p.Output == OutputRoot {
		env = append(env, "BOOTSMITH_ROOT="+p.root())
	}
	return env
}

// fillRoot reads the folder that the script fills.
func (p Source) fillRoot(ctx context.Context, s *store.Store, epoch int64) (*tree.Tree, error) {
	if err := p.program(p.environment(epoch), nil).Run(ctx); err != nil {
		return nil, err
	}
	if info, err := os.Stat(p.root()); err != nil || !info.IsDir() {
		return nil, fault.Buildf("running %q: it deleted or replaced the folder BOOTSMITH_ROOT", p.Path).
			WithFix("have it fill the folder that is there")
	}
	t, err := directory.Source{Path: p.root(), UID: p.UID, GID: p.GID, Limits: p.Limits}.Load(ctx, s, epoch)
	if err != nil {
		return nil, &fault.Error{Class: fault.Build, Err: fmt.Errorf("reading what %q made: %w", p.Path, err)}
	}
	if len(t.Root.Children()) == 0 {
		return nil, fault.Buildf("running %q: it left BOOTSMITH_ROOT empty", p.Path).
			WithFix("have it fill the folder, or set root.script.output to tar")
	}
	return t, nil
}
