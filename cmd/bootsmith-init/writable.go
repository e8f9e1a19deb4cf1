//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// makeWritable gives the new root what an operating system writes to: /etc and
// /var as overlays over their contents, on the persist partition or in memory,
// and /tmp empty, in memory. What the root doesn't have is left out.
func (b *boot) makeWritable(image found) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	mountOverlay, err := b.mountState(image)
	if err != nil {
		return err
	}
	for _, dir := range []string{"/etc", "/var"} {
		if !b.hasDir(dir) {
			continue
		}
		if err := mountOverlay(dir); err != nil {
			return err
		}
	}
	if !b.hasDir("/tmp") {
		return nil
	}
	return mount{"tmpfs", newRoot + "/tmp", "tmpfs", flags, "mode=1777,size=50%"}.do()
}

// mountState mounts what the upper layers are on. It returns the function that
// mounts an overlay with such a layer.
func (b *boot) mountState(image found) (func(dir string) error, error) {
	if kept, err := b.mountPersist(image); err != nil || kept {
		return mountKept, err
	}
	return mountUpper, mount{"tmpfs", stateDir, "tmpfs", 0, "mode=0700,size=50%"}.do()
}

// hasDir says whether the new root has a directory that isn't a link.
func (b *boot) hasDir(dir string) bool {
	if info, err := os.Lstat(newRoot + dir); err == nil && info.IsDir() {
		return true
	}
	b.Debugf("the root has no directory %s: nothing can be written there", dir)
	return false
}

// mountUpper mounts an overlay with its upper layer in memory on a directory of
// the new root. It has the root's own layers below it, not the root: two overlays
// would be the kernel's limit for stacking.
func mountUpper(dir string) error {
	upper, workdir := stateDir+dir+"/upper", stateDir+dir+"/work"
	for _, d := range []string{stateDir + dir, upper, workdir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return fmt.Errorf("making %s writable: %w", dir, err)
		}
	}
	// The upper directory is what stat shows.
	if err := copyAttributes(upper, newRoot+dir); err != nil {
		return fmt.Errorf("making %s writable: %w", dir, err)
	}
	return mount{
		source: "overlay", target: newRoot + dir, fstype: "overlay",
		options: layers(dir) + ",upperdir=" + upper + ",workdir=" + workdir,
	}.do()
}

// copyAttributes gives directory dst the owner, mode, extended attributes (ACLs,
// security labels) and times of directory src.
func copyAttributes(dst, src string) error {
	var st unix.Stat_t
	if err := unix.Lstat(src, &st); err != nil {
		return err
	}
	if err := unix.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(dst, st.Mode&0o7777); err != nil {
		return err
	}
	if err := copyXattrs(dst, src); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, dst, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// maxXattrs bounds names and values of extended attributes: XATTR_LIST_MAX and
// XATTR_SIZE_MAX of the kernel, in bytes.
const maxXattrs = 64 << 10

func copyXattrs(dst, src string) error {
	buf := make([]byte, maxXattrs)
	n, err := unix.Llistxattr(src, buf)
	if errors.Is(err, unix.EOPNOTSUPP) || n == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		value := make([]byte, maxXattrs)
		n, err := unix.Lgetxattr(src, name, value)
		if err != nil {
			return fmt.Errorf("reading attribute %q: %w", name, err)
		}
		// A label that the running kernel knows nothing about can't be set.
		if err := unix.Lsetxattr(dst, name, value[:n], 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("setting attribute %q: %w", name, err)
		}
	}
	return nil
}
