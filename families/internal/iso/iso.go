// Package iso lays out ISO 9660 volumes (ECMA-119, 4th edition) with long names
// twice over, Rock Ridge (SUSP 1.12, RRIP 1.10) in the first directory tree and
// Joliet in the second, which UEFI boots (El Torito 1.0; UEFI 2.10, section
// 13.3.2.1). Files of 4 GiB and more are recorded as several
// extents, which lie side by side. It reads such volumes, too.
//
// The image is metadata in memory plus the files' own bytes. In sectors of 2048
// bytes:
//
//	0-15  system area, zeros: room for a partition table
//	16    primary volume descriptor
//	17    El Torito boot record
//	18    Joliet's supplementary volume descriptor
//	19    volume descriptor set terminator
//	20-   path tables (L and M of the first tree, L and M of Joliet's),
//	      directories of the first tree, directories of Joliet's,
//	      boot catalog, boot image, files in the order of their paths, tail
package iso

import (
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/powernode/bootsmith/families/internal/extent"
)

// SectorSize is the size of a logical sector and block in bytes.
const SectorSize = 2048

// Config describes a volume.
type Config struct {
	// VolumeID is the volume identifier; see VolumeID.
	VolumeID string
	// Time dates the volume and all files; it is stored in UTC, in seconds,
	// and must be between 1970 and 2155.
	Time time.Time
	// Boot is what boots.
	Boot Boot
	// Tail is the number of bytes to leave free at the end, for the copy of a
	// partition table.
	Tail int64
}

// Boot is what UEFI firmware starts from optical media: a FAT file system. It
// and the boot catalog are visible as files of the volume.
type Boot struct {
	Image *extent.Image
	// Offset is where the image begins, in bytes, a multiple of SectorSize. 0
	// means right behind the directories.
	Offset int64
	// Path and CatalogPath are the paths of the image and of the catalog.
	Path, CatalogPath string
}

// Entry is a file, a directory or a symbolic link. Directories that lead to
// entries need none of their own; they get mode 0555.
type Entry struct {
	Path string // slash-separated, relative
	// Mode holds the permissions and one of the types fs.ModeDir,
	// fs.ModeSymlink and 0, a regular file.
	Mode   fs.FileMode
	Size   int64                         // regular files: bytes
	Open   func() (io.ReadCloser, error) // regular files
	Target string                        // symbolic links, which Joliet leaves out
}

// New lays out a volume. It opens no file; the files are read when the image
// is. The result depends on nothing but the arguments, and not on the order of
// entries. An error means that the entries can't be stored: a path is there
// twice or not allowed, directories are deeper than 8 levels, or the volume is
// too large.
func New(cfg Config, entries []Entry) (*extent.Image, error) {
	if err := checkTime(cfg.Time); err != nil {
		return nil, fmt.Errorf("laying out an ISO 9660 volume: %w", err)
	}
	if !isVolumeID(cfg.VolumeID) {
		return nil, fmt.Errorf("laying out an ISO 9660 volume: the volume identifier %q is not 1 to 32 of A-Z, 0-9 and _", cfg.VolumeID)
	}
	root, err := buildTree(append(cfg.Boot.entries(), entries...))
	if err != nil {
		return nil, fmt.Errorf("laying out an ISO 9660 volume: %w", err)
	}
	v := &volume{cfg: cfg, root: root}
	if err := v.layOut(); err != nil {
		return nil, fmt.Errorf("laying out an ISO 9660 volume: %w", err)
	}
	return v.image(), nil
}

// entries returns the files that the boot image and its catalog are.
func (b Boot) entries() []Entry {
	return []Entry{
		{Path: b.CatalogPath, Mode: 0o444, Size: SectorSize},
		{Path: b.Path, Mode: 0o444, Size: b.Image.Size()},
	}
}
