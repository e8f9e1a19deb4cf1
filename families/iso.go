package families

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/gpt"
	isofs "github.com/powernode/bootsmith/families/internal/iso"
)

// iso is an ISO 9660 volume that UEFI firmware starts from an optical drive,
// and from a disk or USB stick that it was written to.
type iso struct{}

// Name implements Family.
func (iso) Name() string { return "iso" }

// Parts implements Selective.
func (iso) Parts() []Part { return []Part{PartUKI, PartESP, PartRootImage} }

// Build implements Family.
func (iso) Build(ctx context.Context, in Input, out *Sink) error {
	volume, err := newVolume(in)
	if err != nil {
		return err
	}
	name := in.fileName("iso")
	out.SetMain(name)
	return out.write(name, mediaISO, func(f *File) error { return volume.Copy(ctx, f) })
}

// newVolume lays out the volume; as a disk, it has the EFI system partition as
// its only one:
//
//	0      protective MBR, GPT
//	32 KiB volume descriptors, directories
//	1 MiB  /efi.img, the EFI system partition
//	then   /root.img
//	end    backup GPT
func newVolume(in Input) (*extent.Image, error) {
	const espStart = diskAlign
	esp, err := newESP(in, espStart/gpt.SectorSize)
	if err != nil {
		return nil, err
	}
	volume, err := isofs.New(isofs.Config{
		VolumeID: isofs.VolumeID(in.Platform),
		Time:     in.Epoch,
		Boot:     isofs.Boot{Image: esp, Offset: espStart, Path: "efi.img", CatalogPath: "boot.cat"},
		Tail:     gpt.TailSectors * gpt.SectorSize,
	}, []isofs.Entry{{Path: rootImageFile, Mode: fs.FileMode(0o444), Size: in.RootImage.Size, Open: in.RootImage.Open}})
	if err != nil {
		return nil, err
	}
	table, err := gpt.New(volume.Size(), in.ID("iso"), []gpt.Partition{
		{Type: gpt.ESP, ID: in.ID("iso esp"), Name: "esp", Start: espStart / gpt.SectorSize, Sectors: esp.Size() / gpt.SectorSize},
	})
	if err != nil {
		return nil, fmt.Errorf("laying out the ISO as a disk: %w", err)
	}
	volume.AddBytes(0, table.Head)
	volume.AddBytes(table.TailOffset, table.Tail)
	return volume, nil
}

// Prove implements Prover.
func (iso) Prove(ctx context.Context, dir string, a arch.Arch) (Proof, error) {
	f, err := openOnly(dir, "iso")
	if err != nil {
		return Proof{}, err
	}
	defer f.Close()
	return proveVolume(ctx, f, f.size, a)
}

// proveVolume reads what firmware starts from an optical drive, makes sure that
// it starts the same from a disk, and reads the root image.
func proveVolume(ctx context.Context, r io.ReaderAt, size int64, a arch.Arch) (Proof, error) {
	volume, err := isofs.OpenImage(r, size)
	if err != nil {
		return Proof{}, err
	}
	boot, err := volume.BootImage()
	if err != nil {
		return Proof{}, err
	}
	disk, err := gpt.Read(r, size)
	if err != nil {
		return Proof{}, err
	}
	esp, err := partition(r, disk, gpt.ESP, "EFI system partition")
	if err != nil {
		return Proof{}, err
	}
	_, bootStart, _ := boot.Outer()
	_, espStart, _ := esp.Outer()
	if bootStart != espStart {
		return Proof{}, fmt.Errorf("an optical drive boots from byte %d, a disk from byte %d", bootStart, espStart)
	}
	args, program, err := readESP(esp, a)
	if err != nil {
		return Proof{}, err
	}
	root, err := volume.OpenFile(rootImageFile)
	if err != nil {
		return Proof{}, err
	}
	if err := args.check(ctx, root, root.Size()); err != nil {
		return Proof{}, fmt.Errorf("reading /%s that %s names: %w", rootImageFile, program, err)
	}
	p := args.proof()
	p.note("command line of %s, through El Torito and the GPT", program)
	p.note("/%s: dm-verity tree, root.cfs, every object", rootImageFile)
	return p, nil
}
