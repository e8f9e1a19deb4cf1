// Package fault gives errors a class, so that a program can tell a user's
// mistake from a missing tool, a failed build or a registry outage, and end
// with a different exit code for each.
package fault

import (
	"errors"
	"fmt"
)

// Class says whose turn it is to act on an error.
type Class int

// The classes. The zero value means that nobody has classed the error yet.
const (
	Unknown  Class = iota
	Input          // a definition, flag or input file is wrong: the user mends it
	Tool           // a program or file of the build host is missing
	Build          // the build itself failed
	Remote         // a registry, the signing services or a signature check failed
	Callback       // the platform could not be told, or refused
)

// Error is an error with its class and, where there is one, the remedy.
type Error struct {
	Class Class
	Err   error
	// Fix tells the user what to do, as an imperative without a full stop.
	Fix string
}

// Error returns the message, followed by the remedy.
func (e *Error) Error() string {
	if e.Fix == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + "; " + e.Fix
}

// Unwrap returns the classed error.
func (e *Error) Unwrap() error { return e.Err }

// Inputf returns an error of class Input.
func Inputf(format string, args ...any) *Error {
	return &Error{Class: Input, Err: fmt.Errorf(format, args...)}
}

// Toolf returns an error of class Tool.
func Toolf(format string, args ...any) *Error {
	return &Error{Class: Tool, Err: fmt.Errorf(format, args...)}
}

// Buildf returns an error of class Build.
func Buildf(format string, args ...any) *Error {
	return &Error{Class: Build, Err: fmt.Errorf(format, args...)}
}

// WithFix adds the remedy and returns e.
func (e *Error) WithFix(format string, args ...any) *Error {
	e.Fix = fmt.Sprintf(format, args...)
	return e
}

// Default gives err the class unless it has one already. A nil error stays nil.
func Default(class Class, err error) error {
	if err == nil || ClassOf(err) != Unknown {
		return err
	}
	return &Error{Class: class, Err: err}
}

// ClassOf returns the class of the outermost classed error in err's chain.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Unknown
}
