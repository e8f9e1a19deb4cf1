package kernel

// Wanted lists modules by name; dashes and underscores are the same.
type Wanted struct {
	// Required modules must be there, as modules or built in.
	Required []string
	// Optional modules are left out when the kernel doesn't have them: kernels
	// for clouds, for example, know no USB.
	Optional []string
}

// DefaultModules returns what the initramfs needs to find a verified root and
// mount it, on the machines that the artifacts are made for.
//
// The kernel can't ask for a module itself, as there is no modprobe in the
// initramfs. So the hash behind dm-verity and the character sets that FAT and
// Joliet mounts take by default are listed, too.
//
// Loading a driver for a CPU feature or a hypervisor that isn't there fails with
// ENODEV, and with ENOENT when it needs symbols of such a driver. Init must go
// on after that.
func DefaultModules() Wanted {
	return Wanted{
		Required: []string{"loop", "erofs", "overlay", "dm_mod", "dm_verity"},
		Optional: []string{
			// SHA-256 in general, and faster: by SSSE3, AVX2 or SHA-NI (one
			// module), by ARMv8's instructions, by NEON.
			"sha256_generic", "sha256_ssse3", "sha2_ce", "sha256_arm64",
			// Disks of virtual machines.
			"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "virtio_rng", "virtio_console",
			"hv_storvsc", "vmw_pvscsi", "xen_blkfront",
			// Disks and optical drives of real ones.
			"nvme", "ahci", "ata_piix", "sd_mod", "sr_mod", "cdrom",
			"xhci_pci", "ehci_pci", "usb_storage", "uas",
			// The RAM disk that UEFI's HTTP boot loads an ISO into.
			"nfit", "nd_pmem",
			// File systems: the ISO, a persist partition, the ESP.
			"isofs", "ext4", "vfat", "nls_cp437", "nls_ascii", "nls_utf8", "nls_iso8859_1",
		},
	}
}
