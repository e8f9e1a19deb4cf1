package ext4

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
)

// Features. With metadata_csum every structure has a checksum, and with 64bit
// descriptors have room for all of it; neither needs a tool to finish the image.
const (
	compatHasJournal = 0x4
	compatExtAttr    = 0x8
	compatDirIndex   = 0x20

	incompatFiletype = 0x2
	incompatExtents  = 0x40
	incompat64bit    = 0x80

	roSparseSuper  = 0x1
	roLargeFile    = 0x2
	roHugeFile     = 0x8
	roDirNlink     = 0x20
	roExtraIsize   = 0x40
	roMetadataCsum = 0x400
)

const (
	magic           = 0xef53
	stateClean      = 1
	errorsRemountRO = 2 // better than to go on with what may be wrong
	revisionDynamic = 1
	hashHalfMD4     = 1
	hashSigned      = 1 // as on amd64, whatever the target's char is
	checksumCRC32C  = 1
	journalBackup   = 1 // s_jnl_blocks holds the journal's block map
	mountOptions    = 0x4 | 0x8
	extraIsize      = 32 // what an inode uses beyond the first 128 bytes
	// reservedPart is the part of the blocks, 1 in that many, that only root can
	// fill: a service that fills /var must not keep /etc from being changed.
	reservedPart = 100
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum continues a CRC-32C as the kernel does, without the inversions at
// both ends.
func checksum(crc uint32, data []byte) uint32 {
	return ^crc32.Update(^crc, castagnoli, data)
}

// encoder writes fields of a structure at their offsets.
type encoder []byte

func (e encoder) u8(at int, n int64)  { e[at] = byte(n) }
func (e encoder) u16(at int, n int64) { binary.LittleEndian.PutUint16(e[at:], uint16(n)) }
func (e encoder) u32(at int, n int64) { binary.LittleEndian.PutUint32(e[at:], uint32(n)) }

// split writes a number whose upper half is elsewhere, as the feature 64bit has
// it.
func (e encoder) split32(low, high int, n int64) { e.u32(low, n); e.u32(high, n>>32) }
func (e encoder) split16(low, high int, n int64) { e.u16(low, n); e.u16(high, n>>16) }

// superblock returns struct ext4_super_block as it stands in a group.
func (v volume) superblock(group int64) []byte {
	e := make(encoder, 1024)
	v.putCounts(e)
	v.putTimes(e)
	e.u32(0x18, 2) // block size: 1024 << 2
	e.u32(0x1c, 2) // cluster size
	e.u32(0x20, blocksPerGroup)
	e.u32(0x24, blocksPerGroup) // clusters
	e.u32(0x28, v.geo.inodesPerGroup)
	e.u16(0x36, 0xffff) // no check after a number of mounts
	e.u16(0x38, magic)
	e.u16(0x3a, stateClean)
	e.u16(0x3c, errorsRemountRO)
	e.u32(0x4c, revisionDynamic)
	e.u32(0x54, lostFoundInode) // the first that isn't reserved
	e.u16(0x58, inodeSize)
	e.u16(0x5a, group)
	e.u32(0x5c, compatHasJournal|compatExtAttr|compatDirIndex)
	e.u32(0x60, incompatFiletype|incompatExtents|incompat64bit)
	e.u32(0x64, roSparseSuper|roLargeFile|roHugeFile|roDirNlink|roExtraIsize|roMetadataCsum)
	copy(e[0x68:0x78], v.cfg.UUID[:])
	copy(e[0x78:0x88], v.cfg.Label)
	e.u32(0xe0, journalInode)
	hashSeed := sha256.Sum256(v.cfg.UUID[:])
	copy(e[0xec:0xfc], hashSeed[:])
	e.u8(0xfc, hashHalfMD4)
	e.u8(0xfd, journalBackup)
	e.u16(0xfe, descSize)
	e.u32(0x100, mountOptions) // user_xattr, acl
	copy(e[0x10c:0x148], v.journalMap())
	e.u32(0x14c, v.geo.journalBlocks*blockSize)
	e.u16(0x15c, extraIsize)
	e.u16(0x15e, extraIsize)
	e.u32(0x160, hashSigned)
	e.u8(0x175, checksumCRC32C)
	e.u32(0x3fc, int64(checksum(^uint32(0), e[:0x3fc])))
	return e
}

func (v volume) putCounts(e encoder) {
	inodes := v.geo.inodesPerGroup * v.geo.groups
	e.u32(0x00, inodes)
	e.u32(0x10, inodes-usedInodes)
	e.split32(0x04, 0x150, v.geo.blocks)
	e.split32(0x08, 0x154, v.geo.blocks/reservedPart)
	e.split32(0x0c, 0x158, v.geo.freeBlocks())
}

// putTimes sets the times of the last write, of the last check and of the
// file system's making.
func (v volume) putTimes(e encoder) {
	now := v.cfg.Time.Unix()
	e.u32(0x30, now)
	e.u8(0x274, now>>32)
	e.u32(0x40, now)
	e.u8(0x277, now>>32)
	e.u32(0x108, now)
	e.u8(0x276, now>>32)
}
