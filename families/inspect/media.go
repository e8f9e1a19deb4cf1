package inspect

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/families/internal/fat"
	"github.com/powernode/bootsmith/families/internal/gpt"
	"github.com/powernode/bootsmith/families/internal/iso"
	"github.com/powernode/bootsmith/families/internal/mbr"
	"github.com/powernode/bootsmith/families/internal/qcow2"
)

func isQcow2(s source) bool { return s.has(0, "QFI\xfb") }

func describeQcow2(ctx context.Context, s source, r *Report, depth int) error {
	r.Kind = "qcow2 image"
	disk, err := qcow2.OpenImage(s, s.size)
	if err != nil {
		return err
	}
	r.set("version", disk.Version)
	r.set("cluster size", disk.ClusterSize)
	r.set("virtual size", disk.Size())
	return r.add(ctx, newSource(disk, 0, disk.Size()), "disk", depth)
}

func isDisk(s source) bool { return s.has(gpt.SectorSize, "EFI PART") }

func describeDisk(ctx context.Context, s source, r *Report, depth int) error {
	r.Kind = "disk with a GPT"
	disk, err := gpt.Read(s, s.size)
	if err != nil {
		return err
	}
	r.set("disk GUID", disk.ID)
	for i, p := range disk.Partitions {
		part, err := describe(ctx, newSource(s, p.Start*gpt.SectorSize, p.Sectors*gpt.SectorSize), fmt.Sprintf("partition %d %q", i+1, p.Name), depth+1)
		facts := Report{}
		facts.set("type", p.Type+" "+partitionType(p.Type))
		facts.set("GUID", uuid.UUID(p.ID))
		facts.set("first byte", p.Start*gpt.SectorSize)
		if p.Attributes&gpt.ReadOnly != 0 {
			facts.set("attributes", "read-only")
		}
		part.Facts = append(facts.Facts, part.Facts...)
		r.Parts = append(r.Parts, part)
		if err != nil {
			return err
		}
	}
	return nil
}

// partitionType names the types that Bootsmith writes.
func partitionType(guid string) string {
	if guid == gpt.ESP {
		return "(EFI system partition)"
	}
	for _, a := range arch.All() {
		if guid == a.RootType {
			return "(root for " + a.Name + ")"
		}
	}
	return ""
}

func isMBR(s source) bool {
	partitions, err := mbr.Read(s, s.size)
	return err == nil && len(partitions) > 0 && !isFAT(s)
}

func describeMBR(ctx context.Context, s source, r *Report, depth int) error {
	r.Kind = "disk with a master boot record"
	partitions, err := mbr.Read(s, s.size)
	if err != nil {
		return err
	}
	for i, p := range partitions {
		part, err := describe(ctx, newSource(s, p.Start*mbr.SectorSize, p.Sectors*mbr.SectorSize), fmt.Sprintf("partition %d", i+1), depth+1)
		facts := Report{}
		facts.set("type", fmt.Sprintf("%#02x", p.Type))
		facts.set("first byte", p.Start*mbr.SectorSize)
		part.Facts = append(facts.Facts, part.Facts...)
		r.Parts = append(r.Parts, part)
		if err != nil {
			return err
		}
	}
	return nil
}

func isVolume(s source) bool { return s.has(16*iso.SectorSize, "\x01CD001") }

// describeVolume describes a volume's files, and what else the medium is.
func describeVolume(ctx context.Context, s source, r *Report, depth int) error {
	r.Kind = "ISO 9660 volume"
	volume, err := iso.OpenImage(s, s.size)
	if err != nil {
		return err
	}
	r.set("volume identifier", volume.VolumeID)
	r.set("names", map[bool]string{true: "Joliet", false: "ISO 9660"}[volume.Joliet])
	if boot, err := volume.BootImage(); err == nil {
		_, start, size := boot.Outer()
		r.set("boots by UEFI", fmt.Sprintf("El Torito image of %d bytes at byte %d", size, start))
	}
	if disk, err := gpt.Read(s, s.size); err == nil {
		r.set("is a disk, too", fmt.Sprintf("with a GPT of %d partitions, disk GUID %s", len(disk.Partitions), disk.ID))
	}
	files, err := volume.Files()
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.IsDir {
			continue
		}
		content, err := volume.OpenFile(f.Path)
		if err != nil {
			return err
		}
		if err := r.add(ctx, newSource(content, 0, f.Size), f.Path, depth); err != nil {
			return err
		}
	}
	return nil
}

func isFAT(s source) bool { return s.has(510, "\x55\xaa") && s.has(82, "FAT32   ") }

func describeFAT(ctx context.Context, s source, r *Report, depth int) error {
	r.Kind = "FAT32 file system"
	volume, err := fat.Open(s, s.size)
	if err != nil {
		return err
	}
	r.set("label", volume.Label)
	r.set("serial number", fmt.Sprintf("%04X-%04X", volume.ID>>16, volume.ID&0xffff))
	files, err := volume.Files()
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.IsDir {
			continue
		}
		content, err := volume.OpenFile(f.Path)
		if err != nil {
			return err
		}
		if err := r.add(ctx, newSource(content, 0, f.Size), f.Path, depth); err != nil {
			return err
		}
	}
	return nil
}

// isExt4 looks for the superblock's magic (kernel, filesystems/ext4/super.rst).
func isExt4(s source) bool { return s.has(1024+56, "\x53\xef") }

func describeExt4(_ context.Context, s source, r *Report, _ int) error {
	r.Kind = "ext4 file system"
	b := make([]byte, 1024)
	if n, err := s.ReadAt(b, 1024); n < len(b) {
		return err
	}
	if id, err := uuid.FromBytes(b[104:120]); err == nil {
		r.set("UUID", id)
	}
	r.set("label", strings.TrimRight(string(b[120:136]), "\x00"))
	return nil
}
