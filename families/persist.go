package families

import (
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families/internal/ext4"
	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/gpt"
)

// Bounds of the size of a Persist, in bytes.
const (
	MinPersist = ext4.MinSize
	MaxPersist = ext4.MaxSize
)

// Persist is a partition for what a machine writes to /etc and /var. It holds an
// empty ext4 file system; at boot, init finds it by its name.
type Persist struct {
	// Label is the partition's name and the file system's label.
	Label string `json:"label"`
	// Size is in bytes, a whole number of MiB; 0 means all that the disk has
	// left.
	Size int64 `json:"size"`
}

// minSize returns the least number of bytes that the partition takes.
func (p Persist) minSize() int64 {
	if p.Size != 0 {
		return p.Size
	}
	return MinPersist
}

// newPersist makes the file system for a partition that can have room bytes.
func newPersist(in Input, room int64) (*extent.Image, error) {
	size := in.Persist.Size
	if size == 0 {
		size = room / diskAlign * diskAlign
	}
	image, err := ext4.New(ext4.Config{Size: size, Label: in.Persist.Label, UUID: in.ID("persist file system"), Time: in.Epoch})
	if err != nil {
		return nil, fault.Inputf("making the partition %q: %w", in.Persist.Label, err).WithFix("change disk.persist, or disk.size if it takes the rest")
	}
	return image, nil
}

// persistEntry is the partition's entry. Its type is that of data in general,
// and not of /var, which it is not: nobody but init mounts it.
func persistEntry(in Input, start, size int64) gpt.Partition {
	return gpt.Partition{Type: gpt.LinuxData, ID: in.ID("persist"), Name: in.Persist.Label, Start: start / gpt.SectorSize,
		Sectors: size / gpt.SectorSize, Attributes: gpt.NoAuto}
}
