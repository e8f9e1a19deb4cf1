//go:build linux

package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/console"
)

// openConsoles sends messages to every active console, as /dev/console is only
// the last one of the command line. Standard input and outputs, which the next
// init inherits, become /dev/console: the kernel leaves them closed if it had no
// console when it started init.
func (b *boot) openConsoles() {
	active, _ := os.ReadFile("/sys/class/tty/console/active")
	b.Redirect(console.Open(string(active), openConsole)...)
	for _, name := range []string{"/dev/console", "/dev/null"} {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		for std := range 3 {
			unix.Dup3(fd, std, 0)
		}
		unix.Close(fd)
		return
	}
}

// openConsole doesn't wait for a modem's carrier.
func openConsole(device string) (io.Writer, error) {
	path := "/dev/" + device
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}
