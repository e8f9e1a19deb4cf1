package families

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cavaliergopher/cpio"

	"github.com/powernode/bootsmith/arch"
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

// Parts implements Selective.
func (kernelInitrd) Parts() []Part { return []Part{PartKernel, PartInitramfs, PartRootImage} }

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
	return initramfs.WriteRootCPIO(ctx, f, f.embedding(in.RootImage, r), in.RootImage.Size, in.Epoch)
}

// Prove implements Prover.
func (kernelInitrd) Prove(ctx context.Context, dir string, _ arch.Arch) (Proof, error) {
	cmdline, err := readText(dir, cmdlineFile)
	if err != nil {
		return Proof{}, err
	}
	args, err := parseRootArgs(cmdline)
	if err != nil {
		return Proof{}, fmt.Errorf("reading %s: %w", cmdlineFile, err)
	}
	if err := checkRootFile(ctx, args, dir); err != nil {
		return Proof{}, fmt.Errorf("reading %s that %s names: %w", rootImageFile, cmdlineFile, err)
	}
	if err := checkRootArchive(ctx, args, dir); err != nil {
		return Proof{}, fmt.Errorf("reading %s that %s names: %w", rootCPIOFile, cmdlineFile, err)
	}
	p := args.proof()
	p.note("%s", cmdlineFile)
	p.note("%s, and the one in %s: dm-verity tree, root.cfs, every object", rootImageFile, rootCPIOFile)
	return p, nil
}

func checkRootFile(ctx context.Context, args rootArgs, dir string) error {
	f, err := openFile(dir, rootImageFile)
	if err != nil {
		return err
	}
	defer f.Close()
	return args.check(ctx, f, f.size)
}

// checkRootArchive checks the root image in root.cpio, which must hold nothing
// else.
func checkRootArchive(ctx context.Context, args rootArgs, dir string) error {
	f, err := openFile(dir, rootCPIOFile)
	if err != nil {
		return err
	}
	defer f.Close()
	archive := cpio.NewReader(f)
	h, err := archive.Next()
	if err != nil {
		return err
	}
	if h.Name != initramfs.RootName || h.Mode&cpio.ModeType != cpio.TypeReg {
		return fmt.Errorf("it begins with %q (mode %o), not with %s", h.Name, h.Mode, initramfs.RootName)
	}
	// The reader does not read ahead: the content begins where the file is at.
	start, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if h.Size > f.size-start {
		return fmt.Errorf("%s has %d bytes, more than the archive", h.Name, h.Size)
	}
	if err := args.check(ctx, io.NewSectionReader(f, start, h.Size), h.Size); err != nil {
		return err
	}
	if _, err := f.Seek(start+h.Size, io.SeekStart); err != nil {
		return err
	}
	// Reading goes on at the end of the content, behind which are zeros up to a
	// multiple of four bytes.
	if _, err := f.Seek((4-(start+h.Size)%4)%4, io.SeekCurrent); err != nil {
		return err
	}
	if h, err := cpio.NewReader(f).Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("it holds %q as well", h.Name)
		}
		return err
	}
	return nil
}
