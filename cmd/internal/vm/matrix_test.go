package vm_test

import (
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

// row is one boot of the matrix.
type row struct {
	Family   string `json:"family"`
	Arch     string `json:"architecture"`
	Firmware string `json:"firmware"`
	Medium   string `json:"medium"`
	// Kernel is the distribution's kernel: cloud or generic.
	Kernel string `json:"kernel"`
}

// The kernels, as the README's columns name them.
const (
	cloud   = "cloud"
	generic = "generic"
)

// How machines start.
const (
	noFirmware = "none"
	uefi       = "UEFI"
	bios       = "BIOS"
)

// Media that package vm has no name for.
const (
	ipxeRelative = "HTTP by iPXE, relative URLs"
	ipxeAbsolute = "HTTP by iPXE, absolute URLs"
	uefiHTTP     = "HTTP by the firmware"
	uefiUKI      = "HTTP by the firmware, root on virtio"
	unpacked     = "registry, unpacked to a disk"
	serverMedium = "virtio, `" + serverPlatform + "`"
)

// serverPlatform is the platform that is a whole operating system.
const serverPlatform = "debian-13-server"

func (r row) String() string {
	name := strings.Join([]string{r.Arch, r.Family, r.Firmware, r.Medium, r.Kernel}, "/")
	return strings.NewReplacer(" ", "-", ",", "", "`", "").Replace(name)
}

// fileName is the row's name as a file's.
func (r row) fileName() string {
	return strings.ReplaceAll(r.String(), "/", "_")
}

// matrix returns all boots, the slowest first.
func matrix() []row {
	var rows []row
	add := func(family, firmware, medium string, kernels ...string) {
		for _, a := range arch.All() {
			for _, k := range kernels {
				rows = append(rows, row{family, a.Name, firmware, medium, k})
			}
		}
	}
	add("ipxe", uefi, ipxeRelative, cloud, generic)
	add("ipxe", uefi, ipxeAbsolute, cloud)
	add("iso", uefi, uefiHTTP, cloud, generic)
	add("raw", uefi, uefiUKI, cloud, generic)
	add("oci", noFirmware, unpacked, cloud, generic)
	// iPXE is in the network card's ROM.
	rows = append(rows, row{"ipxe", "amd64", bios, ipxeRelative, cloud}, row{"ipxe", "amd64", bios, ipxeAbsolute, cloud},
		row{"ipxe", "amd64", bios, ipxeRelative, generic})
	for _, family := range []string{"iso", "raw", "qcow2", "kernel-initrd"} {
		rows = append(rows, local(family)...)
	}
	return rows
}

// serverRow is the boot of serverPlatform on an architecture.
func serverRow(a arch.Arch) row { return row{"raw", a.Name, uefi, serverMedium, generic} }

// listed returns all boots that the README lists: the matrix, and the servers.
func listed() []row {
	rows := matrix()
	for _, a := range arch.All() {
		rows = append(rows, serverRow(a))
	}
	return rows
}

// tried are the media that each family's users have. Other combinations work,
// and would show nothing new.
func tried() map[string][]string {
	return map[string][]string{
		"iso":           {"usb-optical", "optical", "usb", "virtio"},
		"raw":           {"usb", "nvme", "scsi", "sata", "virtio"},
		"qcow2":         {"virtio"},
		"kernel-initrd": {"initrd", "disk"},
	}
}

// local returns the boots of a family from what is attached to the machine.
func local(family string) []row {
	var rows []row
	for _, medium := range tried()[family] {
		for _, a := range arch.All() {
			for _, kernel := range []string{generic, cloud} {
				if bootable(family, medium, a, kernel) {
					rows = append(rows, row{family, a.Name, localFirmware(family), medium, kernel})
				}
			}
		}
	}
	return rows
}

func localFirmware(family string) string {
	if family == "kernel-initrd" {
		return noFirmware
	}
	return uefi
}

// bootable leaves out what doesn't exist: media that an architecture's machines
// don't have, and USB with the cloud kernels, which know no USB.
func bootable(family, medium string, a arch.Arch, kernel string) bool {
	if kernel == cloud && strings.HasPrefix(medium, "usb") {
		return false
	}
	for _, m := range vm.Media(family, a) {
		if m == medium {
			return true
		}
	}
	return false
}
