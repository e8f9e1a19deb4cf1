package ext4

const (
	blockSize      = 4096
	blocksPerGroup = 8 * blockSize // what one block of bitmap can count
	inodeSize      = 256
	inodesPerBlock = blockSize / inodeSize
	descSize       = 64 // with the feature 64bit
	superOffset    = 1024

	// minGroup is what mke2fs wants free in a last group, in blocks.
	minGroup = 50
	// lostFoundBlocks gives lost+found room before e2fsck needs any: it can't
	// allocate blocks on a file system that is damaged.
	lostFoundBlocks = 4
)

// geometry says where everything is. All numbers are of blocks or counts.
type geometry struct {
	blocks         int64
	groups         int64
	inodesPerGroup int64
	tableBlocks    int64 // per group
	descBlocks     int64
	journalBlocks  int64
}

// newGeometry divides size bytes.
func newGeometry(size int64) geometry {
	blocks := size / blockSize
	inodes := min(blocks, blocksPerGroup) * blockSize / bytesPerInode(size) / inodesPerBlock * inodesPerBlock
	geo := geometry{inodesPerGroup: inodes, tableBlocks: inodes / inodesPerBlock, journalBlocks: journalBlocks(blocks)}
	geo.resize(blocks)
	last := geo.groups - 1
	if last > 0 && geo.groupBlocks(last) < geo.overhead(last)+minGroup {
		geo.resize(last * blocksPerGroup)
	}
	return geo
}

func (geo *geometry) resize(blocks int64) {
	geo.blocks = blocks
	geo.groups = divideUp(blocks, blocksPerGroup)
	geo.descBlocks = divideUp(geo.groups*descSize, blockSize)
}

func divideUp(n, by int64) int64 { return (n + by - 1) / by }

// bytesPerInode is what mke2fs.conf(5) has for the types small, default and big.
func bytesPerInode(size int64) int64 {
	switch {
	case size < 512<<20:
		return 4096
	case size < 4<<40:
		return 16384
	}
	return 32768
}

// journalBlocks is what mke2fs chooses (ext2fs_default_journal_size), up to 64
// MiB: configuration and state change little at a time, and as one run of blocks
// the journal fits into group 0.
func journalBlocks(blocks int64) int64 {
	switch {
	case blocks < 32<<10:
		return 1024 // the least that the kernel takes (JBD2_MIN_JOURNAL_BLOCKS)
	case blocks < 256<<10:
		return 4096
	case blocks < 512<<10:
		return 8192
	}
	return 16384
}

// hasSuper says whether a group has a copy of superblock and descriptors (the
// feature sparse_super).
func hasSuper(group int64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// groupBlocks returns the number of blocks in a group; the last may be shorter.
func (geo geometry) groupBlocks(group int64) int64 {
	return min(blocksPerGroup, geo.blocks-group*blocksPerGroup)
}

func (geo geometry) blockBitmap(group int64) int64 {
	at := group * blocksPerGroup
	if hasSuper(group) {
		at += 1 + geo.descBlocks
	}
	return at
}

func (geo geometry) inodeBitmap(group int64) int64 { return geo.blockBitmap(group) + 1 }
func (geo geometry) inodeTable(group int64) int64  { return geo.inodeBitmap(group) + 1 }
func (geo geometry) rootDir() int64                { return geo.inodeTable(0) + geo.tableBlocks }
func (geo geometry) lostFound() int64              { return geo.rootDir() + 1 }
func (geo geometry) journal() int64                { return geo.lostFound() + lostFoundBlocks }

// overhead returns the number of blocks of metadata that a group begins with.
func (geo geometry) overhead(group int64) int64 {
	return geo.inodeTable(group) + geo.tableBlocks - group*blocksPerGroup
}

// used returns the number of blocks at the group's begin that are in use.
func (geo geometry) used(group int64) int64 {
	if group == 0 {
		return geo.journal() + geo.journalBlocks
	}
	return geo.overhead(group)
}

func (geo geometry) freeBlocks() int64 {
	free := int64(0)
	for g := range geo.groups {
		free += geo.groupBlocks(g) - geo.used(g)
	}
	return free
}
