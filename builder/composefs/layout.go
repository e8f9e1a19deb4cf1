package composefs

import (
	"math/bits"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/tree"
)

// layout is where everything of an image lies: superblock, inodes (each with
// its xattrs and tail), shared xattrs, blocks.
type layout struct {
	files      []*file // in the order of their inodes, the root first
	buildTime  int64
	buildNsec  uint32
	shared     sharedXattrs
	inodesEnd  int64 // in bytes; the shared xattrs begin here
	blockStart int64 // the first block behind inodes and shared xattrs
	blocks     int64 // blocks from there
}

// maxTail is the longest tail of a directory that mkcomposefs keeps with the
// inode.
const maxTail = erofs.BlockSize / 2

// align rounds n up to a multiple of size, a power of two.
func align(n, size int64) int64 { return (n + size - 1) &^ (size - 1) }

// place lays out an image with the given build time, which must not be after
// any file's mtime.
func place(files []*file, buildTime int64, buildNsec uint32) *layout {
	l := &layout{files: files, buildTime: buildTime, buildNsec: buildNsec, shared: shareXattrs(files)}
	pos := int64(erofs.SuperblockOffset + erofs.SuperblockSize)
	for _, f := range files {
		f.measure()
		f.compact = l.fitsCompact(f)
		f.xattrSize = l.shared.bodySize(f)
		start := align(pos, erofs.SlotSize)
		start += f.padding(start)
		f.pad = start - pos
		f.nid = uint64(start / erofs.SlotSize)
		l.blocks += f.blocks
		pos = start + f.inodeSize() + f.xattrSize + f.tail
	}
	l.inodesEnd = align(pos, erofs.SlotSize)
	l.blockStart = align(l.inodesEnd+l.shared.size, erofs.BlockSize) / erofs.BlockSize
	return l
}

// size returns the length of the image in bytes.
func (l *layout) size() int64 { return (l.blockStart + l.blocks) * erofs.BlockSize }

// oldest returns the earliest mtime of the files: an image's build time.
func oldest(files []*file) (sec int64, nsec uint32) {
	sec, nsec = files[0].mtime, files[0].mtimeNsec
	for _, f := range files {
		if f.mtime < sec || f.mtime == sec && f.mtimeNsec < nsec {
			sec, nsec = f.mtime, f.mtimeNsec
		}
	}
	return sec, nsec
}

// measure finds how many blocks and bytes of tail a file has.
func (f *file) measure() {
	f.blocks, f.tail = 0, 0
	switch {
	case f.is(tree.TypeDir):
		f.measureDir()
	case f.is(tree.TypeSymlink):
		f.tail = int64(len(f.target))
	case f.external():
		f.tail = 4 // the address of one chunk
	default:
		f.tail = int64(len(f.inline))
	}
}

func (f *file) measureDir() {
	for chunk, last := range dirBlocks(f.entries) {
		n := int64(0)
		for _, e := range chunk {
			n += int64(erofs.DirentSize + len(e.name))
		}
		if last && n <= maxTail {
			f.tail = n
		} else {
			f.blocks++
		}
	}
}

// dirBlocks splits a directory's entries into those of each of its blocks; it
// yields them with whether they are the last.
func dirBlocks(entries []entry) func(yield func([]entry, bool) bool) {
	return func(yield func([]entry, bool) bool) {
		first, used := 0, 0
		for i, e := range entries {
			n := erofs.DirentSize + len(e.name)
			if used+n > erofs.BlockSize {
				if !yield(entries[first:i], false) {
					return
				}
				first, used = i, 0
			}
			used += n
		}
		yield(entries[first:], true)
	}
}

// fitsCompact tells whether a compact inode can hold the file's metadata.
func (l *layout) fitsCompact(f *file) bool {
	return f.mtime == l.buildTime && f.mtimeNsec == l.buildNsec &&
		f.links <= 0xffff && f.uid <= 0xffff && f.gid <= 0xffff && f.statSize() <= 0xffffffff
}

// statSize returns the size that the inode carries.
func (f *file) statSize() int64 {
	switch {
	case f.is(tree.TypeDir):
		return f.blocks*erofs.BlockSize + f.tail
	case f.is(tree.TypeSymlink):
		return int64(len(f.target))
	case f.is(tree.TypeRegular):
		return f.size
	}
	return 0
}

// padding returns how many bytes, a multiple of the slot size, an inode that
// could begin at start must be moved so that its tail lies in one block. No tail
// is longer than half a block, but for those of symlinks.
func (f *file) padding(start int64) int64 {
	const block = erofs.BlockSize
	head := f.inodeSize() + f.xattrSize
	if f.is(tree.TypeSymlink) {
		// A symlink's inode, xattrs and target are kept in one block; a target
		// that is too long for that becomes a block of its own.
		total := head + f.tail
		if total >= block {
			f.blocks, f.tail = 1, 0
		}
		if start/block != (start+total-1)/block {
			return align(start, block) - start
		}
		return 0
	}
	if room := block - (start+head)%block; room < f.tail {
		return align(room, erofs.SlotSize)
	}
	return 0
}

// chunkFormat returns the chunk size of an external file as EROFS stores it: one
// chunk, as large as the file, of a power of two of blocks.
func (f *file) chunkFormat() uint32 {
	return uint32(max(bits.Len64(uint64(f.size-1)), erofs.BlockBits) - erofs.BlockBits)
}
