// Package flock locks files and folders between processes (flock(2)).
package flock

import (
	"os"
	"syscall"
)

// Lock locks an open file or folder until it is closed, or the process ends. how is
// LOCK_SH or LOCK_EX, with LOCK_NB for syscall.EWOULDBLOCK instead of waiting. A
// signal is no reason to give up.
func Lock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}
