//go:build linux

package main

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

// withFix adds a remedy to errors that have none, by what the kernel said.
func withFix(err error) error {
	var known *remedy.Error
	if errors.As(err, &known) {
		return err
	}
	fix := "boot with bootsmith.debug and without quiet to see more"
	switch {
	case errors.Is(err, unix.ENOMEM):
		fix = "give the machine more memory"
	case errors.Is(err, unix.ENODEV):
		fix = "the initramfs lacks a kernel module for this: build it again"
	}
	return &remedy.Error{Err: err, Fix: fix}
}
