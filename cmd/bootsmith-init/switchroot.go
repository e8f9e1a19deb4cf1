//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

// switchRoot makes newRoot the root of the file tree and starts the next init as
// PID 1, with the arguments and the environment that the kernel gave this one.
// The order is that of switch_root(8). It returns only if that fails.
func (b *boot) switchRoot(init string) error {
	hideWork()
	for _, dir := range moved() {
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s into the root: %w", dir, err)
		}
	}
	b.deleteInitramfs()
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("entering the root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("entering the root: %w", err)
	}
	b.Debugf("starting %s after %v", init, b.now().Sub(b.start))
	err := unix.Exec(init, append([]string{init}, os.Args[1:]...), os.Environ())
	return execFailure(init, err)
}

// hideWork takes what backs the root out of sight. Overlays hold their layers,
// loop devices their files, and so on: all of it lives on, but nobody has to tell
// it from a full disk, and a shutdown doesn't fail to unmount it.
func hideWork() {
	for _, dir := range []string{stateDir, cfsDir, imageDir, mediumDir} {
		unix.Unmount(dir, unix.MNT_DETACH)
		os.Remove(dir)
	}
	os.Remove(work)
}

func execFailure(init string, err error) error {
	switch {
	case errors.Is(err, unix.ENOEXEC):
		return remedy.Errorf("build the root for this machine", "%s is not a program for this CPU", init)
	case errors.Is(err, unix.ENOENT):
		return remedy.Errorf("add it to the root", "the interpreter or dynamic loader that %s names is missing", init)
	}
	return fmt.Errorf("starting %s: %w", init, err)
}

// deleteInitramfs frees the memory of the initramfs. A root image in there
// lives on, without a name, as long as its loop device does.
func (b *boot) deleteInitramfs() {
	var st unix.Stat_t
	if err := unix.Lstat("/", &st); err != nil {
		return
	}
	if err := deleteTree("/", st.Dev); err != nil {
		b.Debugf("freeing the initramfs: %v", err)
	}
}

// deleteTree deletes what is in dir and on device dev; other file systems stay,
// and so does dir. It goes on after an error and returns all of them.
func deleteTree(dir string, dev uint64) error {
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		path := dir + "/" + e.Name()
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			errs = append(errs, err)
			continue
		}
		switch {
		case st.Dev != dev:
			continue
		case e.IsDir():
			errs = append(errs, deleteTree(path, dev))
		}
		// A directory that holds a mount point stays.
		if err := os.Remove(path); err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
