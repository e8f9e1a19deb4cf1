package families

// Media types of the files, for the registry.
const (
	mediaKernel    = "application/vnd.powernode.kernel"
	mediaInitramfs = "application/vnd.powernode.initramfs.cpio+zstd"
	mediaRootImage = "application/vnd.powernode.root-image.erofs"
	mediaRootCPIO  = "application/vnd.powernode.root-image.cpio"
	mediaCmdline   = "application/vnd.powernode.kernel-cmdline"
	mediaIPXE      = "application/vnd.powernode.ipxe-script"
	mediaRaw       = "application/vnd.powernode.disk-image.raw"
	mediaQcow2     = "application/vnd.powernode.disk-image.qcow2"
	mediaISO       = "application/vnd.powernode.disk-image.iso"
)
