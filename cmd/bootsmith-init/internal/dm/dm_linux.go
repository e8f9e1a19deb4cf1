package dm

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control is an open /dev/mapper/control.
type Control struct{ file *os.File }

// Open opens the control device and asks for the interface's version.
func Open(path string) (*Control, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the device mapper: %w", err)
	}
	c := &Control{f}
	if _, err := c.call(unix.DM_VERSION, "version", 0, nil); err != nil {
		f.Close()
		return nil, fmt.Errorf("asking the device mapper for its version: %w", err)
	}
	return c, nil
}

// Close closes the control device. Mapped devices stay.
func (c *Control) Close() error { return c.file.Close() }

// Create makes the device with one read-only target and returns its minor
// number: its file is /dev/dm-<minor>.
func (c *Control) Create(name string, target Target) (uint32, error) {
	answer, err := c.call(unix.DM_DEV_CREATE, name, 0, nil)
	if err != nil {
		return 0, fmt.Errorf("creating device %q: %w", name, err)
	}
	number := minor(answer)
	if err := c.start(name, target); err != nil {
		c.call(unix.DM_DEV_REMOVE, name, 0, nil)
		return 0, err
	}
	return number, nil
}

// start loads the table and resumes the device, which makes the table live.
func (c *Control) start(name string, target Target) error {
	if _, err := c.call(unix.DM_TABLE_LOAD, name, unix.DM_READONLY_FLAG, &target); err != nil {
		return fmt.Errorf("loading the %s table of device %q: %w", target.Type, name, err)
	}
	if _, err := c.call(unix.DM_DEV_SUSPEND, name, unix.DM_READONLY_FLAG, nil); err != nil {
		return fmt.Errorf("starting device %q: %w", name, err)
	}
	return nil
}

// Status returns the target's status text: for verity "V", or "C" once a block
// was found that doesn't have its hash.
func (c *Control) Status(name string) (string, error) {
	answer, err := c.call(unix.DM_TABLE_STATUS, name, 0, nil)
	if err != nil {
		return "", fmt.Errorf("asking for the status of device %q: %w", name, err)
	}
	return status(answer)
}

func (c *Control) call(command uintptr, name string, flags uint32, target *Target) ([]byte, error) {
	b, err := request(name, flags, target)
	if err != nil {
		return nil, err
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, c.file.Fd(), command, uintptr(unsafe.Pointer(&b[0])))
	runtime.KeepAlive(b)
	if errno != 0 {
		return nil, errno
	}
	return b, nil
}
