package families

import (
	"context"
	"fmt"
	"io"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/uki"
	"github.com/powernode/bootsmith/families/internal/fat"
	"github.com/powernode/bootsmith/families/internal/gpt"
)

// proveDisk reads a disk of the families raw and qcow2: the command line of the
// program that firmware starts, and the root partition that it names.
func proveDisk(ctx context.Context, r io.ReaderAt, size int64, a arch.Arch) (Proof, error) {
	disk, err := gpt.Read(r, size)
	if err != nil {
		return Proof{}, err
	}
	esp, err := partition(r, disk, gpt.ESP, "EFI system partition")
	if err != nil {
		return Proof{}, err
	}
	args, program, err := readESP(esp, a)
	if err != nil {
		return Proof{}, err
	}
	root, err := partition(r, disk, a.RootType, "root partition for "+a.Name)
	if err != nil {
		return Proof{}, err
	}
	if err := args.check(ctx, root, root.Size()); err != nil {
		return Proof{}, fmt.Errorf("reading the root partition that %s names: %w", program, err)
	}
	p := args.proof()
	p.note("command line of %s", program)
	p.note("root partition: dm-verity tree, root.cfs, every object")
	return p, nil
}

// partition returns the only partition of a type.
func partition(r io.ReaderAt, disk gpt.Disk, kind, name string) (*io.SectionReader, error) {
	var found []gpt.Partition
	for _, p := range disk.Partitions {
		if p.Type == kind {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("looking for the %s: there are %d", name, len(found))
	}
	return io.NewSectionReader(r, found[0].Start*gpt.SectorSize, found[0].Sectors*gpt.SectorSize), nil
}

// readESP reads the command line of the program that firmware starts from an EFI
// system partition, and returns the program's path.
func readESP(esp *io.SectionReader, a arch.Arch) (args rootArgs, program string, err error) {
	program = "EFI/BOOT/" + a.EFIBootFile
	volume, err := fat.Open(esp, esp.Size())
	if err != nil {
		return args, "", fmt.Errorf("reading the EFI system partition: %w", err)
	}
	f, err := volume.OpenFile(program)
	if err != nil {
		return args, "", fmt.Errorf("reading the EFI system partition: %w", err)
	}
	image, err := uki.Read(f, f.Size())
	if err != nil {
		return args, "", fmt.Errorf("reading %s of the EFI system partition: %w", program, err)
	}
	if image.Machine != a.PEMachine {
		return args, "", fmt.Errorf("%s is for the machine %#x, not %#x", program, image.Machine, a.PEMachine)
	}
	cmdline, err := image.Text(uki.SectionCmdline)
	if err != nil {
		return args, "", fmt.Errorf("reading %s: %w", program, err)
	}
	if args, err = parseRootArgs(cmdline); err != nil {
		return args, "", fmt.Errorf("reading %s: %w", program, err)
	}
	return args, program, nil
}
