//go:build linux

package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/console"
)

// openConsoles sends messages to every active console, as /dev/console is only
// the last one of the command line; without any, to the kernel's log. Standard
// input and outputs, which the next init inherits, become /dev/console: the
// kernel leaves them closed if it had no console when it started init.
func (b *boot) openConsoles() {
	b.Redirect(activeConsoles()...)
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

func activeConsoles() []io.Writer {
	active, _ := os.ReadFile("/sys/class/tty/console/active")
	var out []io.Writer
	for _, name := range append(console.Names(string(active)), "kmsg") {
		if name == "kmsg" && len(out) > 0 {
			break
		}
		if f := openConsole("/dev/" + name); f != nil {
			out = append(out, f)
		}
	}
	return out
}

// openConsole doesn't wait for a modem's carrier.
func openConsole(path string) *os.File {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), path)
}
