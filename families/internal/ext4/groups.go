package ext4

// Flags of a group.
const (
	inodeUninit = 0x1 // the inode bitmap and table are unused
	blockUninit = 0x2 // the block bitmap says nothing but the metadata
	inodeZeroed = 0x4 // the inode table is zeros
)

// descriptors returns struct ext4_group_desc of every group.
func (v volume) descriptors(firstBitmap, lastBitmap, inodeBitmap []byte) []byte {
	table := make([]byte, v.geo.groups*descSize)
	for g := range v.geo.groups {
		e := encoder(table[g*descSize:][:descSize])
		e.split32(0x00, 0x20, v.geo.blockBitmap(g))
		e.split32(0x04, 0x24, v.geo.inodeBitmap(g))
		e.split32(0x08, 0x28, v.geo.inodeTable(g))
		e.split16(0x0c, 0x2c, v.geo.groupBlocks(g)-v.geo.used(g))
		flags, inodes := int64(inodeUninit|blockUninit|inodeZeroed), v.geo.inodesPerGroup
		// The last group's bitmap marks what is behind the end.
		if g == v.geo.groups-1 {
			flags &^= blockUninit
			e.split16(0x18, 0x38, int64(checksum(v.seed, lastBitmap)))
		}
		if g == 0 {
			flags = inodeZeroed
			inodes -= usedInodes
			e.split16(0x10, 0x30, usedDirs)
			e.split16(0x18, 0x38, int64(checksum(v.seed, firstBitmap)))
			e.split16(0x1a, 0x3a, int64(checksum(v.seed, inodeBitmap[:v.geo.inodesPerGroup/8])))
		}
		e.split16(0x0e, 0x2e, inodes)
		e.split16(0x1c, 0x32, inodes) // never used, at the table's end
		e.u16(0x12, flags)
		var number [4]byte
		encoder(number[:]).u32(0, g)
		// The checksum's own field is still zero.
		e.u16(0x1e, int64(checksum(checksum(v.seed, number[:]), e)))
	}
	return table
}

// blockBitmap returns the bitmap of a group; what isn't there is in use.
func (v volume) blockBitmap(group int64) []byte {
	bitmap := make([]byte, blockSize)
	setBits(bitmap, 0, v.geo.used(group))
	setBits(bitmap, v.geo.groupBlocks(group), blocksPerGroup)
	return bitmap
}

// inodeBitmap returns the bitmap of group 0.
func (v volume) inodeBitmap() []byte {
	bitmap := make([]byte, blockSize)
	setBits(bitmap, 0, usedInodes)
	setBits(bitmap, v.geo.inodesPerGroup, 8*blockSize)
	return bitmap
}

func setBits(bitmap []byte, from, to int64) {
	for i := from; i < to; i++ {
		bitmap[i/8] |= 1 << (i % 8)
	}
}
