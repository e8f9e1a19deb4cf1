// Package terminal tells how wide a terminal is.
package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// usual is the width that is taken when the terminal doesn't know its own.
const usual = 80

// Width returns a function that gives the number of columns of the terminal
// that f is, or nil when f is no terminal (tty_ioctl(4), TIOCGWINSZ).
func Width(f *os.File) func() int {
	size := func() (*unix.Winsize, error) { return unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ) }
	if _, err := size(); err != nil {
		return nil
	}
	return func() int {
		if w, err := size(); err == nil && w.Col > 0 {
			return int(w.Col)
		}
		return usual
	}
}
