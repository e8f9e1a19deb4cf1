//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/persist"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

// persistDir is where the partition for /etc and /var stays mounted, so that
// its owner can look at it, trim it and let it grow.
const persistDir = work + "/persist"

// settleTime is how long disks may take to appear that the root didn't need.
const settleTime = 3 * time.Second

// mountPersist mounts the partition that keeps what is written to /etc and /var.
// It returns false if there is none to be had. A machine that was started from
// a disk has one on it, so it is an error if that is missing: going on would
// lose, at the next boot, all that is written. An ISO and a network boot have
// none; they take that of a disk in the machine, or do without.
func (b *boot) mountPersist(image found) (bool, error) {
	if b.settings.Persist == "" {
		return false, nil
	}
	device, err := b.findPersist(image)
	if err != nil {
		return false, err
	}
	if device == "" {
		b.Printf("no partition %q: what is written to /etc and /var is lost when the machine stops", b.settings.Persist)
		return false, nil
	}
	m := mount{"/dev/" + device, persistDir, "ext4", unix.MS_NOSUID | unix.MS_NODEV, ""}
	if err := m.do(); err != nil {
		return false, persistFailure(device, err)
	}
	b.Printf("/etc and /var are kept on %s", device)
	return true, nil
}

// findPersist returns the kernel's name of the device, "" if there is none.
func (b *boot) findPersist(image found) (string, error) {
	s := persist.Search{
		Label: b.settings.Persist, RootDevice: strings.TrimPrefix(image.device, "/dev/"), Sys: os.DirFS("/sys"),
		Open: func(name string) (persist.File, error) { return os.Open("/dev/" + name) },
	}
	return b.waitForPersist(s, image.onISO())
}

func (b *boot) waitForPersist(s persist.Search, onISO bool) (string, error) {
	onPartition := s.OnPartition()
	patience := persistPatience(onPartition, onISO)
	noticed := false
	for began := b.now(); ; b.sleep(searchStep) {
		devices, elsewhere, err := s.Find()
		if err != nil {
			return "", err
		}
		waited := b.now().Sub(began)
		if len(devices) == 0 && (!onPartition || waited >= settleTime) {
			devices = elsewhere
		}
		switch {
		case len(devices) == 1:
			return devices[0], nil
		case len(devices) > 1:
			return "", remedy.Errorf("remove or rename all but one", "%d partitions have the name %q: %s", len(devices), s.Label, persist.Describe(devices))
		case waited >= patience && onPartition:
			return "", remedy.Errorf("restore the partition, or write the disk image again",
				"there is no partition %q, which keeps what is written to /etc and /var", s.Label)
		case waited >= patience:
			return "", nil
		case waited > noticeTime && !noticed:
			noticed = true
			b.Printf("waiting for the partition %q, for up to %v", s.Label, patience)
		}
	}
}

// persistPatience returns how long to wait for the partition. A disk that the
// root is on has it, and an ISO was found on a bus that is slower than those of
// disks.
func persistPatience(onPartition, onISO bool) time.Duration {
	switch {
	case onPartition:
		return searchTime
	case onISO:
		return 0
	}
	return settleTime
}

// onISO says whether the image is a file of an ISO 9660 file system.
func (f found) onISO() bool {
	return f.file != nil && strings.HasPrefix(f.file.Name(), mediumDir+"/")
}

func persistFailure(device string, err error) error {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
		return remedy.Errorf("make the disk writable", "%s, which keeps what is written to /etc and /var, is write-protected (%w)", device, err)
	case errors.Is(err, unix.ENODEV):
		return err // withFix says what is missing
	}
	return remedy.Errorf("check it with e2fsck from another system, or make an empty ext4 file system there to give up what it holds",
		"%s, which keeps what is written to /etc and /var, can't be mounted (%w)", device, err)
}

// mountKept mounts an overlay on a directory of the new root whose upper layer
// outlives this root. Its lower layer is the root's own overlay, and not the
// layers of that: files whose data are elsewhere (metacopy) and directories that
// moved (redirect_dir) would point to what the next version of the root doesn't
// have. Without these, and without index and xino, the lower layer may change
// between two mounts (Documentation/filesystems/overlayfs.rst, "Changes to
// underlying filesystems"): a file that was written here hides the root's.
func mountKept(dir string) error {
	base := persistDir + dir
	if err := makeLayers(base, newRoot+dir); err != nil {
		return fmt.Errorf("making %s writable: %w", dir, err)
	}
	return mount{
		source: "overlay", target: newRoot + dir, fstype: "overlay",
		options: "lowerdir=" + newRoot + dir + ",upperdir=" + base + "/upper,workdir=" + base + "/work" +
			",metacopy=off,redirect_dir=nofollow,index=off,xino=off",
	}.do()
}

// makeLayers makes, in base, what an overlay over lower needs, unless it is
// there. The upper directory gets its name when it is complete, as the power may
// fail at any time.
func makeLayers(base, lower string) error {
	upper, next := path.Join(base, "upper"), path.Join(base, "upper.new")
	for _, dir := range []string{base, path.Join(base, "work")} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if _, err := os.Lstat(upper); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := os.Mkdir(next, 0o700); err != nil {
		return err
	}
	if err := copyAttributes(next, lower); err != nil {
		return err
	}
	return os.Rename(next, upper)
}
