// Package block lists the block devices that a root image may be on.
package block

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Device is a disk, an optical drive or a partition.
type Device struct {
	// Name is the kernel's name, which is also its file's in /dev.
	Name string
	// Partition is false for whole devices.
	Partition bool
}

// virtual are prefixes of devices without a medium of their own. Floppy disks
// are among them: asking a missing drive takes many seconds.
var virtual = []string{"loop", "ram", "zram", "dm-", "nbd", "fd", "mtdblock"}

// List returns the devices of a sysfs, partitions first, in the order of their
// names.
func List(sys fs.FS) ([]Device, error) {
	entries, err := fs.ReadDir(sys, "class/block")
	if err != nil {
		return nil, fmt.Errorf("listing block devices: %w", err)
	}
	var devices []Device
	for _, e := range entries {
		if isVirtual(e.Name()) {
			continue
		}
		part, err := isPartition(sys, e.Name())
		if err != nil {
			return nil, fmt.Errorf("listing block devices: %w", err)
		}
		// Sysfs writes "!" for a slash: "cciss!c0d0" is /dev/cciss/c0d0.
		devices = append(devices, Device{strings.ReplaceAll(e.Name(), "!", "/"), part})
	}
	slices.SortStableFunc(devices, func(a, b Device) int {
		if a.Partition != b.Partition {
			if a.Partition {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return devices, nil
}

func isVirtual(name string) bool {
	return slices.ContainsFunc(virtual, func(p string) bool { return strings.HasPrefix(name, p) })
}

// isPartition tells partitions by the file "partition", which holds their
// number (Documentation/ABI/stable/sysfs-block).
func isPartition(sys fs.FS, name string) (bool, error) {
	_, err := fs.Stat(sys, "class/block/"+name+"/partition")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
