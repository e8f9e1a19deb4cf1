//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

// Where things are mounted. The new root can't be below /run, which moves into
// it.
const (
	work      = "/run/bootsmith"
	mediumDir = work + "/medium" // the ISO 9660 file system with root.img
	imageDir  = work + "/image"  // root.img
	cfsDir    = work + "/cfs"    // root.cfs
	stateDir  = work + "/state"  // upper layers of /etc and /var, in memory
	newRoot   = "/newroot"
)

// mount is one call of mount(2).
type mount struct {
	source, target, fstype string
	flags                  uintptr
	options                string
}

// kernelMounts are the file systems that every init needs, with the flags that
// systemd gives them.
func kernelMounts() []mount {
	const safe = unix.MS_NOSUID | unix.MS_NODEV
	return []mount{
		{"proc", "/proc", "proc", safe | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", "sysfs", safe | unix.MS_NOEXEC, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID | unix.MS_STRICTATIME, "mode=0755"},
		{"tmpfs", "/run", "tmpfs", safe | unix.MS_STRICTATIME, "mode=0755,size=20%"},
	}
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// do makes the mount point if it isn't there and mounts.
func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return fmt.Errorf("making a mount point: %w", err)
	}
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.options); err != nil {
		return fmt.Errorf("mounting %s %q on %q: %w", m.fstype, m.source, m.target, err)
	}
	return nil
}

// makeWork makes the folder for what backs the root. Nobody but root may look
// in there: objects have no file modes.
func makeWork() error {
	if err := os.Mkdir(work, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making a mount point: %w", err)
	}
	return nil
}

// onInitramfs makes sure that "/" is the kernel's rootfs, whose contents are
// deleted later.
func onInitramfs() error {
	var s unix.Statfs_t
	if err := unix.Statfs("/", &s); err != nil {
		return fmt.Errorf("looking at the initramfs: %w", err)
	}
	if s.Type != unix.RAMFS_MAGIC && s.Type != unix.TMPFS_MAGIC {
		return remedy.Errorf("load it with the kernel, as its initrd", "init is not in an initramfs")
	}
	return nil
}
