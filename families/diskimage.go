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

// diskParts are what a disk image is made from.
func diskParts() []Part { return []Part{PartUKI, PartESP, PartRootImage, PartDisk} }

// newDisk lays out the disk of the families raw and qcow2:
//
//	0              protective MBR, GPT
//	1 MiB          EFI system partition "esp"
//	next whole MiB partition "root" with the root image
//	next whole MiB partition for what changes, if there is one
//	end            backup GPT
//
// What DiskSize adds to that, and no partition takes, stays free before the end.
func newDisk(in Input) (*extent.Image, error) {
	const espStart = diskAlign
	esp, err := newESP(in, espStart/gpt.SectorSize)
	if err != nil {
		return nil, err
	}
	at, err := placeParts(in, espStart+esp.Size())
	if err != nil {
		return nil, err
	}
	disk := extent.New(at.size)
	disk.AddImage(espStart, "EFI system partition", esp)
	disk.AddFile(at.root, in.RootImage.Size, in.RootImage.Path, in.RootImage.Open)
	partitions := []gpt.Partition{
		{Type: gpt.ESP, ID: in.ID("esp"), Name: "esp", Start: espStart / gpt.SectorSize, Sectors: esp.Size() / gpt.SectorSize},
		{Type: in.Arch.RootType, ID: in.ID("root"), Name: "root", Start: at.root / gpt.SectorSize, Sectors: at.rootSize / gpt.SectorSize,
			Attributes: gpt.ReadOnly},
	}
	if in.Persist != nil {
		persist, err := newPersist(in, at.size-diskTail-at.persist)
		if err != nil {
			return nil, err
		}
		disk.AddImage(at.persist, "persist partition", persist)
		partitions = append(partitions, persistEntry(in, at.persist, persist.Size()))
	}
	table, err := gpt.New(at.size, in.ID("disk"), partitions)
	if err != nil {
		return nil, fmt.Errorf("laying out the disk: %w", err)
	}
	disk.AddBytes(0, table.Head)
	disk.AddBytes(table.TailOffset, table.Tail)
	return disk, nil
}

// diskTail is what the backup table takes at a disk's end, in bytes.
const diskTail = gpt.TailSectors * gpt.SectorSize

// diskPlaces says where the parts of a disk begin, in bytes.
type diskPlaces struct {
	root, rootSize int64
	persist        int64
	size           int64 // of the disk
}

// placeParts places what comes behind the EFI system partition.
func placeParts(in Input, espEnd int64) (diskPlaces, error) {
	at := diskPlaces{root: alignUp(espEnd, diskAlign), rootSize: alignUp(in.RootImage.Size, 4096)}
	end := at.root + at.rootSize
	if in.Persist != nil {
		at.persist = alignUp(end, diskAlign)
		end = at.persist + in.Persist.minSize()
	}
	var err error
	at.size, err = diskSize(in.DiskSize, alignUp(end+diskTail, diskAlign))
	return at, err
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
