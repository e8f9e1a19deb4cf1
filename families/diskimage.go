package families

import (
	"fmt"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/gpt"
)

// diskAlign is what partitions are aligned to, in bytes: it suits every sector
// and erase block size.
const diskAlign = 1 << 20

// newDisk lays out the disk of the families raw and qcow2:
//
//	0              protective MBR, GPT
//	1 MiB          EFI system partition "esp"
//	next whole MiB partition "root" with the root image
//	end            backup GPT
//
// What DiskSize adds to that stays free behind the root partition.
func newDisk(in Input) (*extent.Image, error) {
	const espStart = diskAlign
	esp, err := newESP(in, espStart/gpt.SectorSize)
	if err != nil {
		return nil, err
	}
	rootStart := alignUp(espStart+esp.Size(), diskAlign)
	rootSize := alignUp(in.RootImage.Size, 4096)
	size, err := diskSize(in.DiskSize, alignUp(rootStart+rootSize+gpt.TailSectors*gpt.SectorSize, diskAlign))
	if err != nil {
		return nil, err
	}
	table, err := gpt.New(size, in.ID("disk"), []gpt.Partition{
		{Type: gpt.ESP, ID: in.ID("esp"), Name: "esp", Start: espStart / gpt.SectorSize, Sectors: esp.Size() / gpt.SectorSize},
		{Type: in.Arch.RootType, ID: in.ID("root"), Name: "root", Start: rootStart / gpt.SectorSize, Sectors: rootSize / gpt.SectorSize,
			Attributes: gpt.ReadOnly},
	})
	if err != nil {
		return nil, fmt.Errorf("laying out the disk: %w", err)
	}
	disk := extent.New(size)
	disk.AddBytes(0, table.Head)
	disk.AddImage(espStart, "EFI system partition", esp)
	disk.AddFile(rootStart, in.RootImage.Size, in.RootImage.Path, in.RootImage.Open)
	disk.AddBytes(table.TailOffset, table.Tail)
	return disk, nil
}

// diskSize returns the size to make, in bytes: what was asked, or what is
// needed.
func diskSize(asked, needed int64) (int64, error) {
	switch {
	case asked == 0:
		return needed, nil
	case asked < needed:
		return 0, fault.Inputf("laying out a disk of %d bytes: its content needs %d", asked, needed).
			WithFix("set the disk's size to %d MiB or more, or leave it out", needed/diskAlign)
	case asked%diskAlign != 0:
		return 0, fault.Inputf("laying out a disk of %d bytes: the size is not a whole number of MiB", asked).
			WithFix("set the disk's size to %d MiB", asked/diskAlign+1)
	}
	return asked, nil
}

func alignUp(n, to int64) int64 { return (n + to - 1) / to * to }
