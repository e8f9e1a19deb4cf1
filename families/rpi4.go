package families

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/fat"
	"github.com/powernode/bootsmith/families/internal/mbr"
)

// rpi4 is an image for an SD card or USB disk of a Raspberry Pi 4. Its firmware
// reads a partition table of the old kind, and files from a FAT file system
// (https://www.raspberrypi.com/documentation/computers/config_txt.html):
//
//	0              MBR
//	1 MiB          FAT32: the firmware's files, config.txt, cmdline.txt, kernel, initramfs
//	next whole MiB root image
//	next whole MiB partition for what changes, if there is one
type rpi4 struct{}

// RPi4Name is the name of the family for the Raspberry Pi 4.
const RPi4Name = "disk-image-rpi4"

// RPi4 is what the family takes besides.
type RPi4 struct {
	// Firmware are the files that the Raspberry Pi's maker ships, such as
	// start4.elf.
	Firmware []ESPFile
	// DeviceTree is the kernel's own description of the machine; it is used
	// when the firmware has none. A zero one is none.
	DeviceTree Blob
	// Config are further lines of config.txt.
	Config []string
}

// Files on the boot partition.
const (
	rpi4ConfigFile     = "config.txt"
	rpi4CmdlineFile    = "cmdline.txt"
	rpi4DeviceTreeFile = "bcm2711-rpi-4-b.dtb"
)

// Name implements Family.
func (rpi4) Name() string { return RPi4Name }

// Supports implements Limited.
func (rpi4) Supports(a arch.Arch) bool { return a.PEMachine == machineARM64 }

// machineARM64 is the machine of the Raspberry Pi 4, as PE headers name it.
const machineARM64 = 0xaa64

// Modules implements Limited: the SD card's controller and driver, the
// regulators of its power, and what resets the USB controller.
func (rpi4) Modules() (required, optional []string) {
	return []string{"sdhci_iproc", "mmc_block"},
		[]string{"fixed", "gpio_regulator", "gpio_raspberrypi_exp", "reset_raspberrypi", "pcie_brcmstb", "xhci_pci", "usb_storage", "uas"}
}

// Parts implements Selective.
func (rpi4) Parts() []Part {
	return []Part{PartKernel, PartInitramfs, PartRootImage, PartESP, PartRPi4, PartDisk}
}

// Build implements Family.
func (rpi4) Build(ctx context.Context, in Input, out *Sink) error {
	if err := checkImage(in.Kernel); err != nil {
		return err
	}
	disk, err := newRPi4Disk(in)
	if err != nil {
		return err
	}
	name := in.Platform + "-" + in.Arch.Name + "-rpi4.img"
	out.SetMain(name)
	return out.write(name, mediaRaw, func(f *File) error { return disk.Copy(ctx, f) })
}

// checkImage makes sure that the firmware can start the kernel: an arm64 Image
// has "ARM\x64" at byte 56 (Linux, Documentation/arch/arm64/booting.rst).
func checkImage(kernel Blob) error {
	r, err := kernel.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	var head [60]byte
	if _, err := io.ReadFull(r, head[:]); err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return err
	}
	if string(head[56:]) != "ARM\x64" {
		return fault.Inputf("reading the kernel: it is not an uncompressed arm64 Image, which the Raspberry Pi's firmware starts").
			WithFix("name a kernel package with such an image, for example linux-image-arm64")
	}
	return nil
}

func newRPi4Disk(in Input) (*extent.Image, error) {
	const bootStart = diskAlign
	boot, err := newRPi4Boot(in, bootStart/mbr.SectorSize)
	if err != nil {
		return nil, err
	}
	at, err := placeParts(in, bootStart+boot.Size())
	if err != nil {
		return nil, err
	}
	disk := extent.New(at.size)
	disk.AddImage(bootStart, "boot partition", boot)
	disk.AddFile(at.root, in.RootImage.Size, in.RootImage.Path, in.RootImage.Open)
	partitions := []mbr.Partition{
		{Type: mbr.FAT32, Start: bootStart / mbr.SectorSize, Sectors: boot.Size() / mbr.SectorSize},
		{Type: mbr.Linux, Start: at.root / mbr.SectorSize, Sectors: at.rootSize / mbr.SectorSize},
	}
	if in.Persist != nil {
		persist, err := newPersist(in, at.size-at.persist)
		if err != nil {
			return nil, err
		}
		disk.AddImage(at.persist, "persist partition", persist)
		partitions = append(partitions, mbr.Partition{Type: mbr.Linux, Start: at.persist / mbr.SectorSize, Sectors: persist.Size() / mbr.SectorSize})
	}
	signature := in.ID("disk")
	table, err := mbr.New(at.size, binary.LittleEndian.Uint32(signature[:4]), partitions)
	if err != nil {
		return nil, fault.Inputf("laying out the disk: %w", err).WithFix("make the disk smaller")
	}
	disk.AddBytes(0, table)
	return disk, nil
}

// newRPi4Boot lays out the boot partition. An operator finds the definition's
// files for the EFI system partition here: the machine has no other.
func newRPi4Boot(in Input, hiddenSectors uint32) (*extent.Image, error) {
	files := []fat.File{
		{Path: kernelFile, Size: in.Kernel.Size, Open: in.Kernel.Open},
		{Path: initramfsFile, Size: in.Initramfs.Size, Open: in.Initramfs.Open},
	}
	for _, f := range slices.Concat(in.RPi4.Firmware, in.ESP) {
		files = append(files, fat.File{Path: f.Path, Size: f.Blob.Size, Open: f.Blob.Open})
	}
	ownTree := !hasFile(files, rpi4DeviceTreeFile)
	if ownTree && in.RPi4.DeviceTree.Path != "" {
		files = append(files, fat.File{Path: rpi4DeviceTreeFile, Size: in.RPi4.DeviceTree.Size, Open: in.RPi4.DeviceTree.Open})
	}
	for _, name := range []string{"start4.elf", "fixup4.dat", rpi4DeviceTreeFile} {
		if !hasFile(files, name) {
			return nil, fault.Inputf("laying out the boot partition: %q is missing", name).
				WithFix("put it into the folder or archive that rpi4.firmware names")
		}
	}
	files = append(files, textFile(rpi4ConfigFile, in.rpi4Config(ownTree)), textFile(rpi4CmdlineFile, in.rpi4Cmdline(ownTree)))
	serial := in.ID("boot file system")
	image, err := fat.New(fat.Config{
		Free: espFree, Label: "BOOT", VolumeID: binary.BigEndian.Uint32(serial[:4]), HiddenSectors: hiddenSectors, Time: in.Epoch,
	}, files)
	if err != nil {
		return nil, fault.Inputf("laying out the boot partition: %w", err).WithFix("change the firmware's files or those for the ESP")
	}
	return image, nil
}

func hasFile(files []fat.File, path string) bool {
	return slices.ContainsFunc(files, func(f fat.File) bool { return strings.EqualFold(f.Path, path) })
}

func textFile(name, text string) fat.File {
	return fat.File{Path: name, Size: int64(len(text)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader([]byte(text))), nil
	}}
}

// rpi4Config returns config.txt. With the kernel's own device tree, the firmware
// has to be told that it is not the maker's kernel.
func (in Input) rpi4Config(ownTree bool) string {
	lines := []string{"arm_64bit=1", "kernel=" + kernelFile, "initramfs " + initramfsFile + " followkernel", "enable_uart=1"}
	if ownTree {
		lines = append(lines, "upstream_kernel=1")
	}
	return strings.Join(append(lines, in.RPi4.Config...), "\n") + "\n"
}

// rpi4CmdlineFile returns cmdline.txt, one line. The virtual machines' serial port
// is here the one on the GPIO header. It has another name in the kernel's own
// device tree than in the maker's, where the firmware puts it for "serial0".
func (in Input) rpi4Cmdline(ownTree bool) string {
	console := "console=serial0,115200"
	if ownTree {
		console = "console=ttyS1,115200"
	}
	parameters := strings.Split(in.Cmdline, " ")
	for i, p := range parameters {
		if p == "console="+in.Arch.Console || strings.HasPrefix(p, "console="+in.Arch.Console+",") {
			parameters[i] = console
		}
	}
	return strings.Join(parameters, " ") + "\n"
}

// Prove implements Prover.
func (rpi4) Prove(ctx context.Context, dir string, _ arch.Arch) (Proof, error) {
	f, err := openOnly(dir, "img")
	if err != nil {
		return Proof{}, err
	}
	defer f.Close()
	disk, err := mbr.Read(f, f.size)
	if err != nil {
		return Proof{}, err
	}
	if len(disk) < 2 || disk[0].Type != mbr.FAT32 || disk[1].Type != mbr.Linux {
		return Proof{}, fmt.Errorf("reading the partition table: it has no boot and root partition")
	}
	part := func(p mbr.Partition) *io.SectionReader {
		return io.NewSectionReader(f, p.Start*mbr.SectorSize, p.Sectors*mbr.SectorSize)
	}
	args, err := readRPi4Args(part(disk[0]))
	if err != nil {
		return Proof{}, fmt.Errorf("reading the boot partition: %w", err)
	}
	root := part(disk[1])
	if err := args.check(ctx, root, root.Size()); err != nil {
		return Proof{}, fmt.Errorf("reading the root partition that %s names: %w", rpi4CmdlineFile, err)
	}
	p := args.proof()
	p.note("command line in %s", rpi4CmdlineFile)
	p.note("root partition: dm-verity tree, root.cfs, every object")
	return p, nil
}

func readRPi4Args(boot *io.SectionReader) (rootArgs, error) {
	volume, err := fat.Open(boot, boot.Size())
	if err != nil {
		return rootArgs{}, err
	}
	f, err := volume.OpenFile(rpi4CmdlineFile)
	if err != nil {
		return rootArgs{}, err
	}
	if f.Size() > maxText {
		return rootArgs{}, fmt.Errorf("%s has %d bytes", rpi4CmdlineFile, f.Size())
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return rootArgs{}, err
	}
	return parseRootArgs(strings.TrimSpace(string(text)))
}
