package families

import (
	"context"
	"fmt"

	"github.com/powernode/bootsmith/builder/initramfs"
)

// kernelInitrd is the parts themselves, for boot loaders that load files: QEMU,
// kexec, iPXE.
type kernelInitrd struct{}

// Files of the family. The ipxe family's script names them.
const (
	kernelFile    = "vmlinuz"
	initramfsFile = "initramfs.cpio.zst"
	rootImageFile = "root.img"
	rootCPIOFile  = "root.cpio"
	cmdlineFile   = "cmdline"
)

// Name implements Family.
func (kernelInitrd) Name() string { return "kernel-initrd" }

// Build implements Family.
func (kernelInitrd) Build(ctx context.Context, in Input, out *Sink) error {
	out.SetMain(initramfsFile)
	for _, c := range []struct {
		blob            Blob
		name, mediaType string
	}{
		{in.Kernel, kernelFile, mediaKernel},
		{in.Initramfs, initramfsFile, mediaInitramfs},
		{in.RootImage, rootImageFile, mediaRootImage},
	} {
		if err := out.copyBlob(ctx, c.blob, c.name, c.mediaType); err != nil {
			return err
		}
	}
	err := out.write(rootCPIOFile, mediaRootCPIO, func(f *File) error { return writeRootCPIO(ctx, in, f) })
	if err != nil {
		return err
	}
	return out.write(cmdlineFile, mediaCmdline, func(f *File) error {
		_, err := fmt.Fprintln(f, in.Cmdline)
		return err
	})
}

// writeRootCPIO writes the root image as an initrd of its own.
func writeRootCPIO(ctx context.Context, in Input, f *File) error {
	r, err := in.RootImage.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return initramfs.WriteRootCPIO(ctx, f, r, in.RootImage.Size, in.Epoch)
}
