// Package erofs knows the on-disk structures of uncompressed EROFS images with
// 4096-byte blocks: superblock, inodes, directory entries.
//
// It has no other imports than the standard library's smallest, so that an
// initramfs can use it. The format is described in the kernel's
// Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h. All integers are
// little-endian.
package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes and offsets in bytes.
const (
	BlockSize        = 4096
	BlockBits        = 12
	SuperblockOffset = 1024
	SuperblockSize   = 128
	SlotSize         = 32 // inodes start at multiples of it; a nid counts slots
	CompactSize      = 32 // of a compact inode
	ExtendedSize     = 64 // of an extended inode
	DirentSize       = 12
	NameMax          = 255
)

// Magic begins the superblock (EROFS_SUPER_MAGIC_V1).
const Magic = 0xE0F5E1E2

// Compatible features (EROFS_FEATURE_COMPAT_*).
const (
	CompatMtime       = 2 // inodes carry mtimes
	CompatXattrFilter = 4 // xattr bodies carry a filter of the names
)

// Data layouts of inodes (EROFS_INODE_*).
const (
	FlatPlain  = 0 // whole blocks
	FlatInline = 2 // whole blocks, and a tail behind the inode
	ChunkBased = 4 // chunks of blocks, listed behind the inode
)

// NullBlock is the address of a chunk of zeros (EROFS_NULL_ADDR).
const NullBlock = 0xFFFFFFFF

// ErrNoSuperblock is returned for bytes without an EROFS superblock.
var ErrNoSuperblock = errors.New("no EROFS superblock")

// Superblock is what this package reads and writes of struct erofs_super_block.
type Superblock struct {
	FeatureCompat   uint32
	FeatureIncompat uint32
	RootNID         uint16
	Inodes          uint64
	BuildTime       int64  // mtime of compact inodes, seconds since 1970
	BuildTimeNsec   uint32 // 0..999999999
	Blocks          uint32 // of the file system, BlockSize each
	MetaBlock       uint32 // block that nids are counted from
	XattrBlock      uint32 // block that shared xattrs are counted from
	UUID            [16]byte
}

// Size returns the size of the file system in bytes.
func (s Superblock) Size() int64 { return int64(s.Blocks) << BlockBits }

// Bytes returns the superblock as it lies at SuperblockOffset.
func (s Superblock) Bytes() [SuperblockSize]byte {
	var b [SuperblockSize]byte
	le := binary.LittleEndian
	le.PutUint32(b[0:], Magic)
	le.PutUint32(b[8:], s.FeatureCompat)
	b[12] = BlockBits
	le.PutUint16(b[14:], s.RootNID)
	le.PutUint64(b[16:], s.Inodes)
	le.PutUint64(b[24:], uint64(s.BuildTime))
	le.PutUint32(b[32:], s.BuildTimeNsec)
	le.PutUint32(b[36:], s.Blocks)
	le.PutUint32(b[40:], s.MetaBlock)
	le.PutUint32(b[44:], s.XattrBlock)
	copy(b[48:64], s.UUID[:])
	le.PutUint32(b[80:], s.FeatureIncompat)
	return b
}

// ParseSuperblock reads a superblock from the bytes at SuperblockOffset. It
// returns ErrNoSuperblock when there is none, and another error when the block
// size is not BlockSize.
func ParseSuperblock(b []byte) (Superblock, error) {
	le := binary.LittleEndian
	if len(b) < SuperblockSize || le.Uint32(b) != Magic {
		return Superblock{}, ErrNoSuperblock
	}
	if b[12] != BlockBits {
		return Superblock{}, fmt.Errorf("EROFS superblock: blocks of 2^%d bytes: only 2^%d is known", b[12], BlockBits)
	}
	return Superblock{
		FeatureCompat:   le.Uint32(b[8:]),
		FeatureIncompat: le.Uint32(b[80:]),
		RootNID:         le.Uint16(b[14:]),
		Inodes:          le.Uint64(b[16:]),
		BuildTime:       int64(le.Uint64(b[24:])),
		BuildTimeNsec:   le.Uint32(b[32:]),
		Blocks:          le.Uint32(b[36:]),
		MetaBlock:       le.Uint32(b[40:]),
		XattrBlock:      le.Uint32(b[44:]),
		UUID:            [16]byte(b[48:64]),
	}, nil
}

// ReadSuperblock reads the superblock of the file system that begins at byte 0
// of r. What is too short for a file system has no superblock.
func ReadSuperblock(r io.ReaderAt) (Superblock, error) {
	var b [SuperblockSize]byte
	if n, err := r.ReadAt(b[:], SuperblockOffset); n < len(b) {
		if err == io.EOF {
			err = ErrNoSuperblock
		}
		return Superblock{}, fmt.Errorf("reading the EROFS superblock: %w", err)
	}
	return ParseSuperblock(b[:])
}

// Inode is an inode as it lies on disk. A compact one has no mtime of its own
// and 16-bit owners and link count, and its Size is below 4 GiB; fields that
// don't fit are cut off.
type Inode struct {
	Compact    bool
	Layout     uint16 // FlatPlain, FlatInline or ChunkBased
	XattrCount uint16 // 0 without xattrs, else 1 + (size of their body - 12) / 4
	Mode       uint16 // st_mode
	Links      uint32
	Size       uint64
	Union      uint32 // block address, device number or chunk format
	Ino        uint32
	UID, GID   uint32
	Mtime      int64
	MtimeNsec  uint32
}

// Len returns the length of the inode in bytes.
func (i Inode) Len() int {
	if i.Compact {
		return CompactSize
	}
	return ExtendedSize
}

// Append appends the inode to b.
func (i Inode) Append(b []byte) []byte {
	le := binary.LittleEndian
	format := i.Layout << 1
	if !i.Compact {
		format |= 1
	}
	b = le.AppendUint16(b, format)
	b = le.AppendUint16(b, i.XattrCount)
	b = le.AppendUint16(b, i.Mode)
	if i.Compact {
		b = le.AppendUint16(b, uint16(i.Links))
		b = le.AppendUint32(b, uint32(i.Size))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, i.Union)
		b = le.AppendUint32(b, i.Ino)
		b = le.AppendUint16(b, uint16(i.UID))
		b = le.AppendUint16(b, uint16(i.GID))
		return le.AppendUint32(b, 0)
	}
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, i.Size)
	b = le.AppendUint32(b, i.Union)
	b = le.AppendUint32(b, i.Ino)
	b = le.AppendUint32(b, i.UID)
	b = le.AppendUint32(b, i.GID)
	b = le.AppendUint64(b, uint64(i.Mtime))
	b = le.AppendUint32(b, i.MtimeNsec)
	b = le.AppendUint32(b, i.Links)
	return append(b, make([]byte, 16)...)
}

// AppendDirent appends the fixed part of a directory entry: where its inode is,
// where its name begins in the directory block, and its type (see FileType).
func AppendDirent(b []byte, nid uint64, nameOffset uint16, fileType byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, nid)
	b = binary.LittleEndian.AppendUint16(b, nameOffset)
	return append(b, fileType, 0)
}

// FileType returns the type in a directory entry (EROFS_FT_*) for the type bits
// of a st_mode; 0 means unknown.
func FileType(mode uint32) byte {
	switch mode & 0o170000 {
	case 0o100000:
		return 1 // regular file
	case 0o040000:
		return 2 // directory
	case 0o020000:
		return 3 // character device
	case 0o060000:
		return 4 // block device
	case 0o010000:
		return 5 // FIFO
	case 0o140000:
		return 6 // socket
	case 0o120000:
		return 7 // symbolic link
	}
	return 0
}
