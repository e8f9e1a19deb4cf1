//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/program"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

// prepareInit finds the next init in the new root, makes what it needs writable
// and checks that nothing is in the way of starting it. The root is that of image.
func (b *boot) prepareInit(image found) (string, error) {
	if err := checkMountPoints(newRoot); err != nil {
		return "", err
	}
	init, err := findInit(newRoot, initCandidates(b.settings.Init))
	if err != nil {
		return "", err
	}
	return init, b.makeWritable(image)
}

func initCandidates(wanted string) []string {
	if wanted != "" {
		return []string{wanted}
	}
	return []string{"/sbin/init", "/usr/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd"}
}

// moved are the mounts that the next init finds in place.
func moved() []string { return []string{"/dev", "/proc", "/sys", "/run"} }

// checkMountPoints makes sure that a read-only root has the directories to mount
// on.
func checkMountPoints(root string) error {
	for _, dir := range moved() {
		if info, err := os.Lstat(root + dir); err != nil || !info.IsDir() {
			return remedy.Errorf("add the directories "+strings.Join(moved(), ", ")+" to it", "the root has no directory %s", dir)
		}
	}
	return nil
}

// findInit returns the first candidate that is an executable file.
func findInit(root string, candidates []string) (string, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening the root: %w", err)
	}
	defer unix.Close(dir)
	var why []string
	for _, path := range candidates {
		err := checkProgram(dir, path)
		switch {
		case err == nil:
			return path, nil
		case errors.Is(err, unix.EIO):
			return "", fmt.Errorf("reading %s: %w", path, err)
		}
		why = append(why, fmt.Sprintf("%s: %s", path, reason(err)))
	}
	return "", remedy.Errorf("put an init system into the root, or name a program of it with init=",
		"the root has no init (%s)", strings.Join(why, ", "))
}

var errNotExecutable = errors.New("not an executable file")

// maxInterpreters bounds a chain of interpreters, as the kernel does (fs/exec.c,
// exec_binprm).
const maxInterpreters = 5

// checkProgram reads all of a program, and of the interpreters and the dynamic
// loader that start it: a damaged block is reported now, and not by the kernel's
// panic after init got a bus error.
func checkProgram(root int, path string) error {
	next, err := readProgram(root, path)
	for range maxInterpreters {
		if err != nil || next == "" {
			return err
		}
		if path = next; path[0] != '/' {
			return fmt.Errorf("its interpreter %q is not an absolute path", path)
		}
		if next, err = readProgram(root, path); err != nil {
			err = fmt.Errorf("its interpreter %s: %w", path, err)
		}
	}
	return errors.New("its interpreters are scripts that need interpreters")
}

// readProgram reads a program to its end and returns what the kernel loads to
// run it. Paths are followed as a program that lives in the root would follow
// them, absolute links included.
func readProgram(root int, path string) (interpreter string, err error) {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return "", errNotExecutable
	}
	if _, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, mib)); err != nil {
		return "", err
	}
	return program.Interpreter(f)
}
