// Package loop attaches files to loop devices (drivers/block/loop.c).
package loop

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// attempts bounds how often another process may take the free device first.
const attempts = 8

// Attach attaches a file read-only to a free loop device of the folder dev,
// "/dev", with logical blocks of blockSize bytes. The device detaches itself
// after its last user: the caller keeps the returned file, whose name is the
// device's, open until it has been mounted or mapped.
func Attach(dev string, file *os.File, blockSize uint32) (*os.File, error) {
	control, err := os.OpenFile(dev+"/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the control of loop devices: %w", err)
	}
	defer control.Close()
	for range attempts {
		var device *os.File
		device, err = attachFree(dev, control, file, blockSize)
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return device, err
		}
	}
	return nil, err
}

func attachFree(dev string, control, file *os.File, blockSize uint32) (*os.File, error) {
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("looking for a free loop device: %w", err)
	}
	device, err := os.Open(dev + "/loop" + strconv.Itoa(number))
	if err != nil {
		return nil, fmt.Errorf("opening a loop device: %w", err)
	}
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Size: blockSize}
	config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file.Name())
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		device.Close()
		return nil, fmt.Errorf("attaching %q to %q: %w", file.Name(), device.Name(), err)
	}
	return device, nil
}
