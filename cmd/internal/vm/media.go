package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

// family is one that a machine can boot.
type family struct {
	name    string
	pattern string // of the file to boot
	format  string // of a disk image, as QEMU calls it
	media   []medium
}

// medium is a way to attach a family's file to a machine.
type medium struct {
	name string
	// has says whether machines of an architecture have it.
	has    func(arch.Arch) bool
	attach func(m Machine, f family, file string) ([]string, error)
}

func families() []family {
	return []family{
		{"kernel-initrd", "vmlinuz", "", []medium{
			{"initrd", anyMachine, rootInMemory},
			{"disk", anyMachine, rootOnDisk},
		}},
		{"raw", "*.img", "raw", disks()},
		{"iso", "*.iso", "raw", append([]medium{
			{"optical", anyMachine, optical},
			{"usb-optical", anyMachine, usbOptical},
		}, disks()...)},
		{"qcow2", "*.qcow2", "qcow2", disks()},
	}
}

func disks() []medium {
	return []medium{
		{"virtio", anyMachine, disk("-device", "virtio-blk-pci,drive=d0,bootindex=0")},
		{"scsi", anyMachine, disk("-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d0,bootindex=0")},
		{"nvme", anyMachine, disk("-device", "nvme,drive=d0,serial=1,bootindex=0")},
		{"usb", anyMachine, disk("-device", "qemu-xhci", "-device", "usb-storage,drive=d0,bootindex=0")},
		{"sata", func(a arch.Arch) bool { return len(a.QEMU.SATA) > 0 }, func(m Machine, f family, file string) ([]string, error) {
			return disk(m.Arch.QEMU.SATA...)(m, f, file)
		}},
	}
}

func anyMachine(arch.Arch) bool { return true }

// Families returns the names of the families that Command can boot.
func Families() []string {
	var names []string
	for _, f := range families() {
		names = append(names, f.name)
	}
	return names
}

// Media returns the media that a family boots from on an architecture, the
// default first; none for a family that isn't one of Families.
func Media(name string, a arch.Arch) []string {
	var names []string
	for _, f := range families() {
		for _, x := range f.media {
			if f.name == name && x.has(a) {
				names = append(names, x.name)
			}
		}
	}
	return names
}

func familyOf(name string) (family, error) {
	all := families()
	if i := slices.IndexFunc(all, func(f family) bool { return f.name == name }); i >= 0 {
		return all[i], nil
	}
	return family{}, fault.Inputf("booting family %q: can't be started in a virtual machine", name).WithFix("use one of %s", strings.Join(Families(), ", "))
}

func (f family) medium(m Machine) (func(Machine, family, string) ([]string, error), error) {
	for _, x := range f.media {
		if x.has(m.Arch) && (x.name == m.Medium || m.Medium == "") {
			return x.attach, nil
		}
	}
	return nil, fault.Inputf("booting family %q from medium %q: no machine for %s has it", f.name, m.Medium, m.Arch.Name).
		WithFix("use one of %s", strings.Join(Media(f.name, m.Arch), ", "))
}

// disk returns a function that attaches the file, as drive d0, to devices.
// Changes to the file are dropped.
func disk(devices ...string) func(Machine, family, string) ([]string, error) {
	return func(m Machine, f family, file string) ([]string, error) {
		args := append(Firmware(m.Arch, ""), "-drive", "if=none,id=d0,snapshot=on,format="+f.format+",file="+Escape(file))
		return append(args, devices...), nil
	}
}

func optical(m Machine, _ family, file string) ([]string, error) {
	return append(opticalDrive(m, file), m.Arch.QEMU.CDROM...), nil
}

func usbOptical(m Machine, _ family, file string) ([]string, error) {
	return append(opticalDrive(m, file), "-device", "qemu-xhci", "-device", "usb-storage,drive=cd0,bootindex=0"), nil
}

func opticalDrive(m Machine, file string) []string {
	return append(Firmware(m.Arch, ""), "-drive", "if=none,id=cd0,media=cdrom,readonly=on,format=raw,file="+Escape(file))
}

// rootInMemory boots kernel, initramfs and root as a boot loader hands them over.
// QEMU takes one initrd, so the two are joined. The initramfs comes first, so
// that its init can say when the memory is too small for the root.
func rootInMemory(m Machine, _ family, kernel string) ([]string, error) {
	dir := filepath.Dir(kernel)
	initrd := filepath.Join(m.Scratch, "initrd")
	if err := join(initrd, filepath.Join(dir, "initramfs.cpio.zst"), filepath.Join(dir, "root.cpio")); err != nil {
		return nil, fmt.Errorf("joining the initrds: %w", err)
	}
	return m.direct(kernel, initrd)
}

// rootOnDisk boots kernel and initramfs; the root image is all of a disk.
func rootOnDisk(m Machine, _ family, kernel string) ([]string, error) {
	dir := filepath.Dir(kernel)
	args, err := m.direct(kernel, filepath.Join(dir, "initramfs.cpio.zst"))
	return append(args, "-drive", "if=none,id=d0,readonly=on,format=raw,file="+Escape(filepath.Join(dir, "root.img")),
		"-device", "virtio-blk-pci,drive=d0"), err
}

func (m Machine) direct(kernel, initrd string) ([]string, error) {
	line, err := os.ReadFile(filepath.Join(filepath.Dir(kernel), "cmdline"))
	if err != nil {
		return nil, fault.Inputf("reading the kernel command line: %w", err).WithFix("build the family first")
	}
	return Direct(m.Arch, kernel, initrd, strings.TrimSpace(string(line))), nil
}

// Direct returns the arguments that load a kernel without firmware.
func Direct(a arch.Arch, kernel, initrd, cmdline string) []string {
	cmdline = strings.Join(append([]string{cmdline}, a.QEMU.Kernel...), " ")
	return []string{"-kernel", kernel, "-initrd", initrd, "-append", cmdline}
}
