// Package ext4 lays out empty ext4 file systems: the structures that mke2fs
// would write, from nothing but a size, names and a time, so that the same
// arguments give the same bytes. It holds a root directory, lost+found and a
// journal; all else is zeros, so an image of any size is small.
//
// The format follows Documentation/filesystems/ext4 of Linux 6.12 and the
// on-disk structures of e2fsprogs 1.47 (lib/ext2fs/ext2_fs.h, kernel-jbd.h).
// Blocks have 4096 bytes, groups 32768 blocks and no flex_bg, so each group
// begins with its own metadata:
//
//	groups 0, 1 and powers of 3, 5, 7: superblock, group descriptors
//	every group:                       block bitmap, inode bitmap, inode table
//	group 0:                           the root directory, lost+found, the journal
//
// Group 0 holds all that is in use, hence every other one is marked as never
// used (BLOCK_UNINIT, INODE_UNINIT): its bitmaps need not be written. Inode
// tables are marked as zeroed, which they are: a copy of the image must have its
// zeros, too, and not what was on the disk before.
package ext4

import (
	"fmt"
	"time"

	"github.com/powernode/bootsmith/families/internal/extent"
)

// Sizes of a file system, in bytes.
const (
	// MinSize leaves about two thirds free behind journal and inode table.
	MinSize = 16 << 20
	// MaxSize is what 32 bits can count blocks in.
	MaxSize = 16 << 40
	// MaxLabel bounds a label.
	MaxLabel = 16
)

// Config describes a file system.
type Config struct {
	// Size is the volume's size in bytes, between MinSize and MaxSize. A last
	// group that is too small for its own metadata stays unused, as does what
	// is less than a block.
	Size int64
	// Label is the volume's name: up to MaxLabel bytes, none of them NUL.
	Label string
	// UUID identifies the volume, and seeds its checksums and hashes.
	UUID [16]byte
	// Time dates all that is in the file system, between 1970 and 2446, in
	// whole seconds.
	Time time.Time
}

// maxTime is what the 34 bits of an inode's time can say, in seconds since 1970.
const maxTime = 1<<34 - 1<<31 - 1

// New lays out an empty file system. An error means that size, label or time are
// out of their bounds.
func New(cfg Config) (*extent.Image, error) {
	switch {
	case cfg.Size < MinSize || cfg.Size > MaxSize:
		return nil, fmt.Errorf("laying out an ext4 file system of %d bytes: the size is not within %d to %d", cfg.Size, MinSize, int64(MaxSize))
	case len(cfg.Label) > MaxLabel || hasNUL(cfg.Label):
		return nil, fmt.Errorf("laying out an ext4 file system: the label %q is longer than %d bytes or holds a NUL", cfg.Label, MaxLabel)
	case cfg.Time.Unix() < 0 || cfg.Time.Unix() > maxTime:
		return nil, fmt.Errorf("laying out an ext4 file system: the time %v can't be stored", cfg.Time)
	}
	v := volume{cfg: cfg, geo: newGeometry(cfg.Size), seed: checksum(^uint32(0), cfg.UUID[:])}
	return v.image(), nil
}

func hasNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

// volume is all that the encoding of the structures needs.
type volume struct {
	cfg  Config
	geo  geometry
	seed uint32 // of all checksums of metadata
}

func (v volume) image() *extent.Image {
	img := extent.New(v.cfg.Size)
	put := func(block int64, data []byte) { img.AddBytes(block*blockSize, data) }

	blockBitmap, inodeBitmap := v.blockBitmap(0), v.inodeBitmap()
	lastGroup := v.geo.groups - 1
	lastBitmap := v.blockBitmap(lastGroup)
	descriptors := v.descriptors(blockBitmap, lastBitmap, inodeBitmap)
	for g := range v.geo.groups {
		if !hasSuper(g) {
			continue
		}
		first := g * blocksPerGroup
		at := first * blockSize
		if g == 0 {
			at = superOffset
		}
		img.AddBytes(at, v.superblock(g))
		put(first+1, descriptors)
	}
	put(v.geo.blockBitmap(0), blockBitmap)
	put(v.geo.inodeBitmap(0), inodeBitmap)
	if lastGroup > 0 {
		put(v.geo.blockBitmap(lastGroup), lastBitmap)
	}
	put(v.geo.inodeTable(0), v.inodes())
	put(v.geo.rootDir(), v.directory(rootInode, entries("lost+found", lostFoundInode)))
	put(v.geo.lostFound(), v.directory(lostFoundInode, entries("", 0)))
	for i := range int64(lostFoundBlocks - 1) {
		put(v.geo.lostFound()+1+i, v.directory(lostFoundInode, nil))
	}
	put(v.geo.journal(), v.journal())
	return img
}
