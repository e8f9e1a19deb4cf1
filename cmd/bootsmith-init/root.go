//go:build linux

package main

import (
	"crypto/subtle"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/builder/dmverity"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/loop"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

const (
	cfsFile    = imageDir + "/root.cfs"
	objectsDir = imageDir + "/objects"
)

// mountRoot mounts the root image and, on newRoot, the root that it holds.
func (b *boot) mountRoot(device verityDevice) error {
	if b.settings.VerifyFull {
		b.Printf("checking every block of the root image (bootsmith.verify=full)")
		if err := device.readAll(); err != nil {
			return err
		}
	}
	m := mount{device.path, imageDir, "erofs", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV, ""}
	if err := m.do(); err != nil {
		return err
	}
	if err := b.mountCFS(); err != nil {
		return err
	}
	return mount{
		source: fmt.Sprintf("composefs:%x", b.settings.Composefs), target: newRoot, fstype: "overlay",
		flags: unix.MS_RDONLY, options: layers(""),
	}.do()
}

// layers returns the options of an overlay of one directory of root.cfs: its
// files are metadata only and name their objects, in the data-only layer behind
// "::", by absolute redirects (Documentation/filesystems/overlayfs.rst,
// "Data-only lower layers").
func layers(dir string) string {
	return "lowerdir=" + cfsDir + dir + "::" + objectsDir + ",metacopy=on,redirect_dir=on"
}

// mountCFS checks root.cfs against the command line and mounts it.
func (b *boot) mountCFS() error {
	f, err := os.Open(cfsFile)
	if err != nil {
		return remedy.Errorf("build it again", "the root image holds no composefs image: %w", err)
	}
	defer f.Close()
	digest, err := measure(f)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(digest[:], b.settings.Composefs[:]) != 1 {
		return remedy.Errorf("take command line and root image from the same build",
			"the root image holds composefs=%x, but the kernel command line wants composefs=%x", digest, b.settings.Composefs)
	}
	return b.mountFile(f)
}

// measure returns the fs-verity digest of the rest of f.
func measure(f *os.File) ([32]byte, error) {
	h := fsverity.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, mib)); err != nil {
		return [32]byte{}, fmt.Errorf("reading root.cfs: %w", err)
	}
	return h.Sum(), nil
}

// mountFile mounts root.cfs, directly where the kernel can (Linux 6.12 with
// CONFIG_EROFS_FS_BACKED_BY_FILE), and by a loop device elsewhere.
func (b *boot) mountFile(f *os.File) error {
	m := mount{f.Name(), cfsDir, "erofs", unix.MS_RDONLY, ""}
	err := m.do()
	if err == nil {
		return nil
	}
	b.Debugf("trying a loop device: %v", err)
	device, err := loop.Attach("/dev", f, dmverity.BlockSize)
	if err != nil {
		return err
	}
	defer device.Close()
	m.source = device.Name()
	return m.do()
}
