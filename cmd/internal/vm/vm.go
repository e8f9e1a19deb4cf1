// Package vm boots built artifacts in QEMU, as their users would: a disk image
// and an ISO through UEFI firmware, a kernel with its initrds directly.
//
// Machines run under TCG, so any architecture boots on any host, with the
// arguments that package arch keeps for each.
package vm

import (
	"fmt"
	"os"
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
	// MemoryMiB is the guest's memory; 0 means DefaultMemory.
	MemoryMiB int
	// Scratch is a folder for files that the machine needs while it runs.
	Scratch string
}

// DefaultMemory is enough for the firmware, a UKI and a root in memory, in MiB.
const DefaultMemory = 768

// Families returns the names of the families that Command can boot.
func Families() []string {
	var names []string
	for _, m := range media {
		names = append(names, m.family)
	}
	return names
}

// medium is how a family's file becomes a machine's boot medium.
type medium struct {
	family  string
	pattern string
	args    func(m Machine, file string) ([]string, error)
}

var media = []medium{
	{"kernel-initrd", "vmlinuz", direct},
	{"raw", "*.img", func(m Machine, file string) ([]string, error) { return disk(m, file, "raw"), nil }},
	{"iso", "*.iso", optical},
	{"qcow2", "*.qcow2", func(m Machine, file string) ([]string, error) { return disk(m, file, "qcow2"), nil }},
}

// Command returns QEMU's arguments without the serial port, which is the
// caller's to connect. A missing artifact is an error of class Input.
func (m Machine) Command() ([]string, error) {
	for _, x := range media {
		if x.family != m.Family {
			continue
		}
		file, err := m.find(x.pattern)
		if err != nil {
			return nil, err
		}
		args, err := x.args(m, file)
		if err != nil {
			return nil, err
		}
		return append(m.base(), args...), nil
	}
	return nil, fault.Inputf("booting family %q: can't be started in a virtual machine", m.Family).WithFix("use one of %s", strings.Join(Families(), ", "))
}

func (m Machine) base() []string {
	memory := m.MemoryMiB
	if memory == 0 {
		memory = DefaultMemory
	}
	args := append([]string{m.Arch.QEMU.Binary, "-accel", "tcg"}, m.Arch.QEMU.Args...)
	return append(args, "-m", strconv.Itoa(memory), "-smp", "1", "-display", "none", "-nodefaults", "-no-reboot")
}

func (m Machine) find(pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(m.Dir, m.Family, pattern))
	if err != nil || len(found) != 1 {
		return "", fault.Inputf("booting %q: found %d files %s there", filepath.Join(m.Dir, m.Family), len(found), pattern).WithFix("build the family first")
	}
	return found[0], nil
}

// firmware attaches the UEFI firmware; changes to its variables are dropped.
func firmware(a arch.Arch) []string {
	return []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + a.QEMU.Code,
		"-drive", "if=pflash,unit=1,format=raw,snapshot=on,file=" + a.QEMU.Vars,
	}
}

func disk(m Machine, file, format string) []string {
	return append(firmware(m.Arch),
		"-drive", "if=none,id=d0,snapshot=on,format="+format+",file="+escape(file),
		"-device", "virtio-blk-pci,drive=d0,bootindex=0")
}

func optical(m Machine, file string) ([]string, error) {
	args := append(firmware(m.Arch), "-drive", "if=none,id=cd0,media=cdrom,readonly=on,format=raw,file="+escape(file))
	return append(args, m.Arch.QEMU.CDROM...), nil
}

// direct boots kernel, root and initramfs as a boot loader hands them over.
// QEMU takes one initrd, so the two are joined. The initramfs comes first, so
// that its init can say when the memory is too small for the root.
func direct(m Machine, kernel string) ([]string, error) {
	dir := filepath.Dir(kernel)
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return nil, fault.Inputf("reading the kernel command line: %w", err).WithFix("build the family first")
	}
	initrd := filepath.Join(m.Scratch, "initrd")
	if err := join(initrd, filepath.Join(dir, "initramfs.cpio.zst"), filepath.Join(dir, "root.cpio")); err != nil {
		return nil, fmt.Errorf("joining the initrds: %w", err)
	}
	cmdline := strings.Join(append([]string{strings.TrimSpace(string(line))}, m.Arch.QEMU.Kernel...), " ")
	return []string{"-kernel", kernel, "-initrd", initrd, "-append", cmdline}, nil
}

// escape doubles commas, which separate options in QEMU's arguments.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
