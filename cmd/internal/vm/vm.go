// Package vm boots built artifacts in QEMU, as their users would: a disk image
// and an ISO through UEFI firmware, a kernel with its initrds directly.
//
// Machines run under TCG, so any architecture boots on any host, with the
// arguments that package arch keeps for each.
package vm

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

// Machine is what to boot and on what.
type Machine struct {
	Arch arch.Arch
	// Dir is build/<arch>, Family the name of one of its folders.
	Dir, Family string
	// Medium is one of Media; "" stands for the family's first.
	Medium string
	// MemoryMiB is the guest's memory; 0 means DefaultMemory.
	MemoryMiB int
	// Scratch is a folder for files that the machine needs while it runs.
	Scratch string
}

// DefaultMemory is enough for the firmware, a UKI and a root in memory, in MiB.
const DefaultMemory = 768

// Command returns QEMU's arguments without the serial port, which is the
// caller's to connect. A missing artifact and a medium that the machine doesn't
// have are errors of class Input.
func (m Machine) Command() ([]string, error) {
	f, err := familyOf(m.Family)
	if err != nil {
		return nil, err
	}
	attach, err := f.medium(m)
	if err != nil {
		return nil, err
	}
	file, err := m.find(f.pattern)
	if err != nil {
		return nil, err
	}
	args, err := attach(m, f, file)
	if err != nil {
		return nil, err
	}
	return append(Base(m.Arch, m.MemoryMiB), args...), nil
}

// Base returns the arguments of a machine that has nothing to boot from, not
// even firmware for it, and no serial port. 0 MiB stand for DefaultMemory.
func Base(a arch.Arch, memoryMiB int) []string {
	if memoryMiB == 0 {
		memoryMiB = DefaultMemory
	}
	args := append([]string{a.QEMU.Binary, "-accel", "tcg"}, a.QEMU.Args...)
	return append(args, "-m", strconv.Itoa(memoryMiB), "-smp", "1", "-display", "none", "-nodefaults", "-no-reboot")
}

// Firmware returns the arguments that attach the UEFI firmware with a file of
// variables, which stays as it is: changes are dropped. "" stands for none.
func Firmware(a arch.Arch, vars string) []string {
	if vars == "" {
		vars = a.QEMU.Vars
	}
	return []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + a.QEMU.Code,
		"-drive", "if=pflash,unit=1,format=raw,snapshot=on,file=" + Escape(vars),
	}
}

func (m Machine) find(pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(m.Dir, m.Family, pattern))
	if err != nil || len(found) != 1 {
		return "", fault.Inputf("booting %q: found %d files %s there", filepath.Join(m.Dir, m.Family), len(found), pattern).WithFix("build the family first")
	}
	return found[0], nil
}

// Escape doubles commas, which separate options in QEMU's arguments.
func Escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
