package overlay

import (
	"io/fs"
	"syscall"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
)

// A file that the user has to make readable is the user's mistake; one that the
// disk can't read is not. Root, who may run this test, can read all files.
func TestUnreadable(t *testing.T) {
	for errno, want := range map[syscall.Errno]fault.Class{syscall.EACCES: fault.Input, syscall.EIO: fault.Unknown} {
		err := unreadable(&fs.PathError{Op: "open", Path: "etc/shadow", Err: errno})
		if got := fault.ClassOf(err); got != want {
			t.Errorf("%v is of class %d, want %d", err, got, want)
		}
	}
}
