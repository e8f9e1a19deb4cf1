// Package remedy ties an error to what a person in front of the console can do
// about it.
package remedy

import "fmt"

// Error is a reason to stop the boot.
type Error struct {
	Err error
	// Fix tells what to do, as an imperative without a full stop.
	Fix string
}

// Errorf returns an Error whose Err is made as fmt.Errorf makes it.
func Errorf(fix, format string, args ...any) *Error {
	return &Error{Err: fmt.Errorf(format, args...), Fix: fix}
}

// Error returns what happened, followed by what to do.
func (e *Error) Error() string { return e.Err.Error() + "; " + e.Fix }

// Unwrap returns the error without its remedy.
func (e *Error) Unwrap() error { return e.Err }
