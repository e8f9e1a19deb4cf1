// Package fat lays out FAT32 file systems in one pass: every directory and file
// is one run of clusters, so the image is metadata in memory plus the files'
// own bytes, and it can be written from front to back.
//
// The format follows Microsoft's "FAT32 File System Specification" 1.03
// (fatgen103), which the UEFI specification 2.10 adopts in section 13.3.
//
//	sector 0      boot sector          sector 6  its copy
//	sector 1      FSInfo               sector 7  its copy
//	sector 32     FAT, then its copy
//	after them    clusters 2, 3, …: the root directory, the other directories, the files
package fat

import (
	"fmt"
	"io"
	"time"

	"github.com/powernode/bootsmith/families/internal/extent"
)

// Config describes a file system.
type Config struct {
	// Size is the volume's size in bytes, a multiple of 512. 0 means as small
	// as the files and Free allow, in whole MiB.
	Size int64
	// Free is the number of bytes to leave free when Size is 0.
	Free int64
	// Label is the volume label: up to 11 characters that a short name may
	// have, in upper case, and spaces. "" means none.
	Label string
	// VolumeID is the volume's serial number.
	VolumeID uint32
	// HiddenSectors is the number of sectors before the volume on its disk.
	HiddenSectors uint32
	// Time dates all entries; it is stored in UTC, in steps of two seconds,
	// between 1980 and 2107.
	Time time.Time
}

// File is a file of the file system. Directories come from the files' paths.
type File struct {
	Path string // slash-separated, relative
	Size int64  // bytes
	Open func() (io.ReadCloser, error)
}

const (
	sectorSize   = 512
	rootCluster  = 2 // the first cluster there is
	maxFileSize  = 1<<32 - 1
	mebibyte     = 1 << 20
	attrVolume   = 0x08
	attrDir      = 0x10
	attrArchive  = 0x20
	attrLongName = 0x0f
)

// New lays out a file system. It opens no file; the files are read when the
// image is. The result depends on nothing but the arguments, and not on the
// order of files. An error means that the files can't be stored: two paths are
// equal but for case, a name is not allowed, a file has 4 GiB or more, or the
// volume is too small.
func New(cfg Config, files []File) (*extent.Image, error) {
	label, err := encodeLabel(cfg.Label)
	if err != nil {
		return nil, err
	}
	root, err := buildTree(files)
	if err != nil {
		return nil, err
	}
	root.label = cfg.Label != ""
	dirs, leaves := root.walk()
	for _, d := range dirs {
		if err := d.assignShortNames(); err != nil {
			return nil, err
		}
	}
	geo, err := chooseGeometry(cfg, dirs, leaves)
	if err != nil {
		return nil, err
	}
	table := allocate(geo, dirs, leaves)
	v := volume{cfg: cfg, label: label, geo: geo, stamp: newStamp(cfg.Time)}
	return v.image(table, dirs, leaves), nil
}

// volume is all that the encoding of the structures needs.
type volume struct {
	cfg   Config
	label [11]byte
	geo   geometry
	stamp stamp
}

func (v volume) image(table []byte, dirs, leaves []*node) *extent.Image {
	img := extent.New(v.geo.sectors * sectorSize)
	used := int64(len(table)/4) - rootCluster
	boot, info := v.bootSector(), v.infoSector(used)
	for _, at := range []int64{0, backupSector} {
		img.AddBytes(at*sectorSize, boot)
		img.AddBytes((at+infoSector)*sectorSize, info)
	}
	for i := range int64(2) {
		img.AddBytes((reservedSectors+i*v.geo.fatSectors)*sectorSize, table)
	}
	for _, d := range dirs {
		img.AddBytes(v.geo.offset(d.cluster), v.directory(d))
	}
	for _, f := range leaves {
		img.AddFile(v.geo.offset(f.cluster), f.file.Size, f.file.Path, f.file.Open)
	}
	return img
}

// allocate gives every directory and file its run of clusters, in order, and
// returns the FAT up to the last cluster in use.
func allocate(geo geometry, dirs, leaves []*node) []byte {
	table := newTable()
	for _, d := range dirs {
		d.cluster = table.chain(geo.clustersFor(d.entries() * entrySize))
	}
	for _, f := range leaves {
		f.cluster = table.chain(geo.clustersFor(f.file.Size))
	}
	return table.bytes
}

// checkFile checks what is independent of the other files.
func checkFile(f File) error {
	if f.Size < 0 || f.Size > maxFileSize {
		return fmt.Errorf("adding %q: a file on FAT32 has less than 4 GiB, this one has %d bytes", f.Path, f.Size)
	}
	return nil
}
