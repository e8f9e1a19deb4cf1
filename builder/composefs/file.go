package composefs

import (
	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/tree"
)

// file is an inode of an image that is being laid out.
type file struct {
	mode, links uint32
	uid, gid    uint32
	rdev        uint32
	mtime       int64
	mtimeNsec   uint32
	size        int64             // regular files
	target      string            // symlinks
	inline      []byte            // regular files whose bytes lie in the inode's tail
	entries     []entry           // directories: sorted, "." and ".." included
	attrs       map[string]string // all xattrs
	xattrs      []xattr           // the same, sorted, once they are complete

	// The layout, found by place and, for ino, by number.
	ino       uint32
	nid       uint64
	pad       int64 // zero bytes before the inode
	compact   bool
	xattrSize int64
	tail      int64 // bytes behind inode and xattrs
	blocks    int64 // blocks outside the inode area
}

// entry is a name in a directory.
type entry struct {
	name string
	file *file
	link bool // not the name that places the inode: ".", ".." and further hard links
}

func (f *file) is(typ uint32) bool { return f.mode&tree.TypeMask == typ }

// external tells whether the file's bytes are an object outside the image.
func (f *file) external() bool {
	return f.is(tree.TypeRegular) && f.size > 0 && f.inline == nil
}

func (f *file) inodeSize() int64 {
	if f.compact {
		return erofs.CompactSize
	}
	return erofs.ExtendedSize
}

// number lists the files below root breadth first and numbers them.
func number(root *file) []*file {
	files := []*file{root}
	for i := 0; i < len(files); i++ {
		files[i].ino = uint32(i)
		for _, e := range files[i].entries {
			if !e.link {
				files = append(files, e.file)
			}
		}
	}
	return files
}

// countLinks sets a directory's link count: its name, its "." and one ".." for
// each directory in it.
func (f *file) countLinks() {
	f.links = 2
	for _, e := range f.entries {
		if !e.link && e.file.is(tree.TypeDir) {
			f.links++
		}
	}
}
