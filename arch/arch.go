// Package arch is the table of CPU architectures that Bootsmith builds for.
//
// It is the only place that tells architectures apart by name: every other
// package takes a row and reads the fact it needs, so that a further
// architecture is one more row.
package arch

import (
	"fmt"
	"strings"
)

// Arch is one architecture: the names that firmware, kernels, packages and
// emulators use for it.
type Arch struct {
	// Name is Debian's, Go's and OCI's name: "amd64", "arm64".
	Name string
	// Machine is the kernel's name, as `uname -m` prints it.
	Machine string
	// Console is the first serial port of the usual virtual machine, as the
	// kernel's console= parameter takes it.
	Console string
	// EFIBootFile is the file that UEFI firmware starts from removable media
	// (UEFI 2.10, section 3.5.1.1), without its directory EFI/BOOT.
	EFIBootFile string
	// EFIStub is the path of systemd's EFI stub in the package systemd-boot-efi.
	EFIStub string
	// PEMachine is the Machine field of a PE/COFF header.
	PEMachine uint16
	// ELFMachine is e_machine in an ELF header, and LibraryFlags what the
	// dynamic linker's cache says of the architecture's libraries besides that
	// they are for libc6 (glibc, sysdeps/generic/ldconfig.h).
	ELFMachine   uint16
	LibraryFlags int32
	// RootType is the GPT type GUID of a root partition (UAPI Discoverable
	// Partitions Specification), lower-case.
	RootType string
	// QEMU says how to start a machine of this architecture.
	QEMU QEMU
}

// QEMU is what it takes to boot an artifact in a virtual machine under TCG.
type QEMU struct {
	// Binary is the emulator, Package the Debian package that ships it.
	Binary, Package string
	// Args are the machine, CPU and firmware-menu arguments that are known to
	// boot reliably without hardware acceleration.
	Args []string
	// Kernel holds kernel parameters that only an emulated machine needs.
	Kernel []string
	// Code and Vars are the UEFI firmware images; FirmwarePackage ships them.
	Code, Vars, FirmwarePackage string
	// CDROM are the arguments that attach drive "cd0" as an optical drive.
	CDROM []string
	// SATA are the arguments that attach drive "d0" as a SATA disk; none if the
	// firmware can't boot from one.
	SATA []string
}

// All returns the architectures in the order in which they are built.
func All() []Arch {
	return []Arch{amd64(), arm64()}
}

// Lookup returns the row for a name; the error lists the known names.
func Lookup(name string) (Arch, error) {
	for _, a := range All() {
		if a.Name == name {
			return a, nil
		}
	}
	return Arch{}, fmt.Errorf("looking up architecture %q: known are %s", name, strings.Join(Names(), ", "))
}

// Names returns the names of all architectures, in order.
func Names() []string {
	var names []string
	for _, a := range All() {
		names = append(names, a.Name)
	}
	return names
}

func amd64() Arch {
	return Arch{
		Name:        "amd64",
		Machine:     "x86_64",
		Console:     "ttyS0",
		EFIBootFile: "BOOTX64.EFI",
		EFIStub:     "usr/lib/systemd/boot/efi/linuxx64.efi.stub",
		PEMachine:   0x8664,
		ELFMachine:  62, LibraryFlags: 0x0300,
		RootType: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
		QEMU: QEMU{
			Binary:  "qemu-system-x86_64",
			Package: "qemu-system-x86",
			// Without -cx16, QEMU 7.2's TCG corrupts the guest's memory in
			// about one boot in seven.
			Args:            []string{"-machine", "q35", "-cpu", "max,-cx16"},
			Kernel:          []string{"no_timer_check"},
			Code:            "/usr/share/OVMF/OVMF_CODE_4M.fd",
			Vars:            "/usr/share/OVMF/OVMF_VARS_4M.fd",
			FirmwarePackage: "ovmf",
			CDROM:           []string{"-device", "ide-cd,drive=cd0,bus=ide.0,bootindex=0"},
			SATA:            []string{"-device", "ide-hd,drive=d0,bus=ide.0,bootindex=0"},
		},
	}
}

func arm64() Arch {
	return Arch{
		Name:        "arm64",
		Machine:     "aarch64",
		Console:     "ttyAMA0",
		EFIBootFile: "BOOTAA64.EFI",
		EFIStub:     "usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
		PEMachine:   0xaa64,
		ELFMachine:  183, LibraryFlags: 0x0a00,
		RootType: "b921b045-1df0-41c3-af44-4c6f280d3fae",
		QEMU: QEMU{
			Binary:  "qemu-system-aarch64",
			Package: "qemu-system-arm",
			// cortex-a72 has no pointer authentication, whose emulation makes
			// "max" half as fast; the splash time keeps the firmware from
			// waiting for a key.
			Args:            []string{"-machine", "virt", "-cpu", "cortex-a72", "-boot", "menu=on,splash-time=0"},
			Code:            "/usr/share/AAVMF/AAVMF_CODE.fd",
			Vars:            "/usr/share/AAVMF/AAVMF_VARS.fd",
			FirmwarePackage: "qemu-efi-aarch64",
			// The firmware has no usable AHCI, so the drive hangs on SCSI.
			CDROM: []string{"-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=cd0,bootindex=0"},
		},
	}
}
