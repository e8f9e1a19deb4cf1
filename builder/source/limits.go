package source

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/powernode/bootsmith/builder/fault"
)

// Limits bounds what a hostile archive can make us do.
type Limits struct {
	Entries int   // number of members
	Bytes   int64 // sum of the files' sizes
}

// Stream returns how long a tar archive within the limits can be, in bytes: for
// every member a header of 512 bytes and padding, and what long names and
// attributes take. It is what a decompression bomb is measured against.
func (l Limits) Stream() int64 {
	const member = 3 << 10 // a header, the two of a PAX record, padding
	size := int64(min(max(l.Entries, 0), math.MaxInt32))*member + 2*maxMetadata
	return size + min(max(l.Bytes, 0), math.MaxInt64-size)
}

// ErrLimits is what errors match that came of Limits.
var ErrLimits = errors.New("the source brings more than its limits allow")

// Exceeded returns an error that matches ErrLimits.
func Exceeded(format string, args ...any) error {
	return limitError(fmt.Sprintf(format, args...))
}

type limitError string

func (e limitError) Error() string        { return string(e) }
func (e limitError) Is(target error) bool { return target == ErrLimits }

// Explain gives an error of a source the class and the remedy, unless it has a
// class already, or the disk is full: that isn't the source's fault. Where Limits
// were exceeded, the remedy is another one.
func Explain(class fault.Class, err error, fix string) error {
	if fault.ClassOf(err) != fault.Unknown || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	if errors.Is(err, ErrLimits) {
		fix = "raise root.limits if so much is wanted"
	}
	return &fault.Error{Class: class, Err: err, Fix: fix}
}
