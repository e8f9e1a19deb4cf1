package ext4

import "encoding/binary"

// Inodes. Those up to 10 are reserved.
const (
	rootInode      = 2
	journalInode   = 8
	lostFoundInode = 11

	usedInodes = 11
	usedDirs   = 2
)

const (
	typeDir     = 0o040000
	typeRegular = 0o100000
	flagExtents = 0x80000
)

// inode is what differs between the three that there are.
type inode struct {
	number, mode, links int64
	start, blocks       int64 // its one extent
}

// inodes returns the first block of the inode table of group 0.
func (v volume) inodes() []byte {
	table := make([]byte, blockSize)
	for _, n := range []inode{
		{rootInode, typeDir | 0o755, 3, v.geo.rootDir(), 1},
		{journalInode, typeRegular | 0o600, 1, v.geo.journal(), v.geo.journalBlocks},
		{lostFoundInode, typeDir | 0o700, 2, v.geo.lostFound(), lostFoundBlocks},
	} {
		copy(table[(n.number-1)*inodeSize:], v.inode(n))
	}
	return table
}

// inode returns struct ext4_inode; owner and generation are 0.
func (v volume) inode(n inode) []byte {
	e := make(encoder, inodeSize)
	e.u16(0x00, n.mode)
	e.u32(0x04, n.blocks*blockSize)
	e.u16(0x1a, n.links)
	e.u32(0x1c, n.blocks*(blockSize/512))
	e.u32(0x20, flagExtents)
	copy(e[0x28:0x64], extents(n.start, n.blocks))
	e.u16(0x80, extraIsize)
	now := v.cfg.Time.Unix()
	// Two more bits extend the signed 32 of a time.
	extra := (now - int64(int32(now))) >> 32 & 3
	for _, at := range [][2]int{{0x08, 0x8c}, {0x0c, 0x84}, {0x10, 0x88}, {0x90, 0x94}} {
		e.u32(at[0], now)
		e.u32(at[1], extra)
	}
	crc := checksum(v.inodeSeed(n.number), e)
	e.split16(0x7c, 0x82, int64(crc))
	return e
}

// inodeSeed is where the checksums of an inode and its blocks begin.
func (v volume) inodeSeed(number int64) uint32 {
	var id [8]byte // number, generation
	encoder(id[:]).u32(0, number)
	return checksum(v.seed, id[:])
}

// extents returns an i_block with struct ext4_extent_header and one struct
// ext4_extent.
func extents(start, blocks int64) []byte {
	e := make(encoder, 60)
	e.u16(0, 0xf30a)
	e.u16(2, 1) // entries
	e.u16(4, 4) // room for so many
	e.u16(12+4, blocks)
	e.u16(12+6, start>>32)
	e.u32(12+8, start)
	return e
}

// journalMap is the journal's i_block, of which the superblock keeps a copy.
func (v volume) journalMap() []byte { return extents(v.geo.journal(), v.geo.journalBlocks) }

// journal returns the head of an empty journal: struct journal_superblock_s,
// big-endian. Its first transaction will be number 1; a start of 0 says that
// there is none to replay.
func (v volume) journal() []byte {
	b := make([]byte, 1024)
	for at, n := range map[int]uint32{
		0x00: 0xc03b3998,
		0x04: 4, // version 2
		0x0c: blockSize,
		0x10: uint32(v.geo.journalBlocks),
		0x14: 1, // first block of the log
		0x18: 1, // next transaction
		0x40: 1, // users
	} {
		binary.BigEndian.PutUint32(b[at:], n)
	}
	copy(b[0x30:0x40], v.cfg.UUID[:])
	return b
}
