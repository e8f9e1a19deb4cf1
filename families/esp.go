package families

import (
	"encoding/binary"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/fat"
)

// espFree is the room, in bytes, that an EFI system partition leaves for what
// an operator adds to it after the build, such as an identity or a certificate.
const espFree = 4 << 20

// newESP lays out an EFI system partition: the unified kernel image where
// firmware looks for it on removable media, and the definition's own files. It
// lies hiddenSectors sectors of 512 bytes into its disk.
func newESP(in Input, hiddenSectors uint32) (*extent.Image, error) {
	files := []fat.File{{Path: "EFI/BOOT/" + in.Arch.EFIBootFile, Size: in.UKI.Size, Open: in.UKI.Open}}
	for _, f := range in.ESP {
		files = append(files, fat.File{Path: f.Path, Size: f.Blob.Size, Open: f.Blob.Open})
	}
	serial := in.ID("esp file system")
	image, err := fat.New(fat.Config{
		Free:          espFree,
		Label:         "ESP",
		VolumeID:      binary.BigEndian.Uint32(serial[:4]),
		HiddenSectors: hiddenSectors,
		Time:          in.Epoch,
	}, files)
	if err != nil {
		// Names and sizes are all that can be wrong before a file is read.
		return nil, fault.Inputf("laying out the EFI system partition: %w", err).WithFix("change the files for the ESP")
	}
	return image, nil
}
