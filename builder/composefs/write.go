package composefs

import (
	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/tree"
)

// writeInodes writes the inodes with their xattrs and tails. Blocks are handed
// out in the order of the inodes.
func (l *layout) writeInodes(o *output) {
	next := l.blockStart
	var buf []byte
	for _, f := range l.files {
		o.zeros(f.pad)
		buf = l.inode(f, next).Append(buf[:0])
		buf = l.shared.appendBody(buf, f, l.inodesEnd%erofs.BlockSize)
		o.Write(f.appendTail(buf))
		next += f.blocks
	}
	o.zeros(l.inodesEnd - o.pos)
}

// inode returns a file's inode; next is the block where its own blocks begin.
func (l *layout) inode(f *file, next int64) erofs.Inode {
	i := erofs.Inode{
		Compact: f.compact,
		Layout:  erofs.FlatPlain,
		Mode:    uint16(f.mode),
		Links:   f.links,
		Size:    uint64(f.statSize()),
		Ino:     f.ino,
		UID:     f.uid, GID: f.gid,
		Mtime: f.mtime, MtimeNsec: f.mtimeNsec,
	}
	if f.xattrSize > 0 {
		i.XattrCount = uint16((f.xattrSize-xattrHeaderSize)/4 + 1)
	}
	switch {
	case f.external():
		i.Layout, i.Union = erofs.ChunkBased, f.chunkFormat()
	case f.is(tree.TypeBlock), f.is(tree.TypeChar):
		i.Union = f.rdev
	case f.blocks > 0:
		i.Union = uint32(next)
	}
	if f.tail > 0 && !f.external() {
		i.Layout = erofs.FlatInline
	}
	return i
}

// appendTail appends what lies behind a file's inode and xattrs.
func (f *file) appendTail(b []byte) []byte {
	switch {
	case f.is(tree.TypeDir):
		for chunk, last := range dirBlocks(f.entries) {
			if last && f.tail > 0 {
				b = appendEntries(b, chunk)
			}
		}
	case f.is(tree.TypeSymlink):
		b = append(b, f.target[:f.tail]...)
	case f.external():
		b = append(b, 0xff, 0xff, 0xff, 0xff) // erofs.NullBlock
	default:
		b = append(b, f.inline...)
	}
	return b
}

// appendEntries appends one directory block: the fixed parts of all entries,
// then their names.
func appendEntries(b []byte, entries []entry) []byte {
	offset := len(entries) * erofs.DirentSize
	for _, e := range entries {
		b = erofs.AppendDirent(b, e.file.nid, uint16(offset), erofs.FileType(e.file.mode))
		offset += len(e.name)
	}
	for _, e := range entries {
		b = append(b, e.name...)
	}
	return b
}

// writeShared writes the shared xattrs and fills their last block.
func (l *layout) writeShared(o *output) {
	var buf []byte
	for _, x := range l.shared.order {
		buf = x.append(buf[:0])
		o.Write(buf)
	}
	o.fillBlock()
}

// writeBlocks writes the blocks of directories and symlinks.
func (l *layout) writeBlocks(o *output) {
	var buf []byte
	for _, f := range l.files {
		switch {
		case f.blocks == 0:
		case f.is(tree.TypeSymlink):
			o.Write([]byte(f.target))
			o.fillBlock()
		case f.is(tree.TypeDir):
			for chunk, last := range dirBlocks(f.entries) {
				if !last || f.tail == 0 {
					buf = appendEntries(buf[:0], chunk)
					o.Write(buf)
					o.fillBlock()
				}
			}
		}
	}
}
