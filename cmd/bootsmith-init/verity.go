//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/builder/dmverity"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/dm"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/loop"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

const (
	mapperControl = "/dev/mapper/control"
	mapperName    = "bootsmith-root"
	sectorSize    = 512
)

// verityDevice is the root image behind dm-verity.
type verityDevice struct {
	path  string // "/dev/dm-0"
	place string // where the image is, for messages
}

// openVerity maps the root image through dm-verity. Reading a block that doesn't
// have its hash gives EIO: neither panic_on_corruption nor
// restart_on_corruption, so that init can say what happened
// (Documentation/admin-guide/device-mapper/verity.rst).
func (b *boot) openVerity(img found) (verityDevice, error) {
	b.Debugf("the root image is on %s", img.name)
	path := img.device
	if img.file != nil {
		device, err := loop.Attach("/dev", img.file, dmverity.BlockSize)
		if err != nil {
			return verityDevice{}, err
		}
		defer device.Close()
		defer img.file.Close()
		path = device.Name()
	}
	number, err := deviceNumber(path)
	if err != nil {
		return verityDevice{}, err
	}
	control, err := dm.Open(mapperControl)
	if err != nil {
		return verityDevice{}, remedy.Errorf("put the kernel modules dm_mod and dm_verity into the initramfs", "%w", err)
	}
	defer control.Close()
	minor, err := control.Create(mapperName, b.target(number))
	if err != nil {
		return verityDevice{}, err
	}
	return verityDevice{"/dev/dm-" + strconv.Itoa(int(minor)), img.name}, nil
}

func (b *boot) target(number string) dm.Target {
	p := dmverity.Params{DataBlocks: b.settings.RootBlocks}
	return dm.Target{
		Sectors: uint64(p.DataBlocks) * (dmverity.BlockSize / sectorSize),
		Type:    "verity",
		Params:  p.Target(number, b.settings.RootHash),
	}
}

// deviceNumber returns "major:minor", which stays right when /dev moves.
func deviceNumber(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", fmt.Errorf("looking at %q: %w", path, err)
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
}

// readAll reads every block, which makes dm-verity check it.
func (d verityDevice) readAll() error {
	f, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("opening the root image: %w", err)
	}
	defer f.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, mib)); err != nil {
		return fmt.Errorf("checking every block of the root image: %w", err)
	}
	return nil
}

// explain says more about an error, if dm-verity has found a wrong block.
func (d verityDevice) explain(err error) error {
	control, oerr := dm.Open(mapperControl)
	if oerr != nil {
		return err
	}
	defer control.Close()
	if status, serr := control.Status(mapperName); serr != nil || status != "C" {
		return err
	}
	return remedy.Errorf("write the image again, and use another medium if that doesn't help",
		"the root image on %s is damaged or was changed: dm-verity refused a block (%w)", d.place, err)
}
