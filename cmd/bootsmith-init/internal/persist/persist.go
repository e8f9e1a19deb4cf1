// Package persist finds the partition that keeps what a machine writes.
package persist

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/block"
)

// Search is what to look for and where.
type Search struct {
	// Label is the name of the partition (GPT), or the label of the ext4 file
	// system on it; either will do.
	Label string
	// RootDevice is the kernel's name of the device with the root image, "" if
	// that is no device. A disk and its copy may be in one machine, so what is on
	// the same disk is told from the rest.
	RootDevice string
	// Sys is sysfs. Open opens a device by the kernel's name.
	Sys  fs.FS
	Open func(name string) (File, error)
}

// File is an open device.
type File interface {
	io.ReaderAt
	io.Closer
}

// Find returns the names of the devices that match: those on the disk that the
// root image is on, and all others. More than one is for the caller to refuse. A
// device that can't be read doesn't match.
func (s Search) Find() (here, elsewhere []string, err error) {
	devices, err := block.List(s.Sys)
	if err != nil {
		return nil, nil, err
	}
	disk := s.disk(s.RootDevice)
	for _, d := range devices {
		switch {
		case !s.matches(d):
		case disk != "" && d.Partition && s.disk(d.Name) == disk:
			here = append(here, d.Name)
		default:
			elsewhere = append(elsewhere, d.Name)
		}
	}
	return here, elsewhere, nil
}

// OnPartition says whether the root image is on a partition.
func (s Search) OnPartition() bool {
	if s.RootDevice == "" {
		return false
	}
	_, err := fs.Stat(s.Sys, s.dir(s.RootDevice)+"/partition")
	return err == nil
}

func (s Search) matches(d block.Device) bool {
	if d.Partition && s.partitionName(d.Name) == s.Label {
		return true
	}
	f, err := s.Open(d.Name)
	if err != nil {
		return false
	}
	defer f.Close()
	var super [superSize]byte
	if _, err := f.ReadAt(super[:], superOffset); err != nil {
		return false
	}
	label, ok := Label(super[:])
	return ok && label == s.Label
}

// dir returns the device's folder in sysfs, which writes "!" for a slash.
func (s Search) dir(name string) string {
	return "class/block/" + strings.ReplaceAll(name, "/", "!")
}

// disk returns the name of the disk that a partition is on: its folder in
// sysfs is a link to one in the disk's own ("…/block/vda/vda3").
func (s Search) disk(partition string) string {
	if partition == "" {
		return ""
	}
	target, err := fs.ReadLink(s.Sys, s.dir(partition))
	if err != nil {
		return ""
	}
	return path.Base(path.Dir(target))
}

// maxEvent bounds a uevent file, in bytes; the kernel's limit is one page.
const maxEvent = 1 << 16

// partitionName returns PARTNAME of the device's uevent file.
func (s Search) partitionName(name string) string {
	f, err := s.Sys.Open(s.dir(name) + "/uevent")
	if err != nil {
		return ""
	}
	defer f.Close()
	event, err := io.ReadAll(io.LimitReader(f, maxEvent))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(event)) {
		if value, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "PARTNAME="); ok {
			return value
		}
	}
	return ""
}

// The superblock of ext4, in bytes (Documentation/filesystems/ext4/super.rst).
const (
	superOffset = 1024
	superSize   = 1024
	magicAt     = 0x38
	magic       = 0xef53
	labelAt     = 0x78
	labelSize   = 16
)

// Label returns the label in a superblock of ext2, ext3 or ext4.
func Label(super []byte) (label string, ok bool) {
	if len(super) < superSize || binary.LittleEndian.Uint16(super[magicAt:]) != magic {
		return "", false
	}
	raw, _, _ := bytes.Cut(super[labelAt:labelAt+labelSize], []byte{0})
	return string(raw), true
}

// Describe lists device names for a message.
func Describe(names []string) string {
	const most = 8
	if len(names) > most {
		names = append(names[:most:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}
