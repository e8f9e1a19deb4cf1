package composefs

import (
	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/tree"
)

// body is a regular file of a root image: whole blocks where it stands in the
// order of bodies, and the inode with the rest of its bytes, the tail, in a
// block that it shares with the bodies next to it. Such a shared block comes
// behind the blocks of all its bodies, so that all is written in one pass.
type body struct {
	*file
	object *tree.Content // nil for /root.cfs

	first  int64 // block
	blocks int64
	tail   int64
	opens  bool  // the inode begins a new shared block
	offset int64 // of the inode in the shared block
}

// pack finds the places of all bodies, in their order; the first free block is
// next. It returns the number of blocks of the file system.
func pack(bodies []*body, next int64) (blocks int64) {
	const block = erofs.BlockSize
	used, shared := int64(block), 0 // the bodies from shared on are in the open block
	closeBlock := func(end int) {
		for _, b := range bodies[shared:end] {
			b.nid = uint64(next*block+b.offset) / erofs.SlotSize
		}
		if end > shared {
			next++
		}
		shared = end
	}
	for i, b := range bodies {
		b.compact = b.size <= 0xffffffff
		b.blocks, b.tail = b.size/block, b.size%block
		if b.inodeSize()+b.tail > block {
			b.blocks, b.tail = b.blocks+1, 0
		}
		if b.opens = used+b.inodeSize()+b.tail > block; b.opens {
			closeBlock(i)
			used = 0
		}
		b.first, b.offset = next, used
		next += b.blocks
		used = align(used+b.inodeSize()+b.tail, erofs.SlotSize)
	}
	closeBlock(len(bodies))
	return next
}

// inode returns the body's inode.
func (b *body) inode() erofs.Inode {
	i := erofs.Inode{
		Compact: b.compact,
		Layout:  erofs.FlatPlain,
		Mode:    uint16(b.mode),
		Links:   1,
		Size:    uint64(b.size),
		Ino:     b.ino,
		Mtime:   b.mtime, MtimeNsec: b.mtimeNsec,
	}
	if b.blocks > 0 {
		i.Union = uint32(b.first)
	}
	if b.tail > 0 {
		i.Layout = erofs.FlatInline
	}
	return i
}
