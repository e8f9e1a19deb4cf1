package ext4

const (
	fileTypeDir = 2
	// tailSize is what a checksum takes at the end of a directory's block.
	tailSize     = 12
	tailFileType = 0xde
)

// entry is a directory in a directory. Inode 0 means the directory itself.
type entry struct {
	name  string
	inode int64
}

// entries returns what a directory below the root, or the root itself, begins
// with, and one more entry if it has a name.
func entries(name string, number int64) []entry {
	list := []entry{{".", 0}, {"..", rootInode}}
	if name != "" {
		list = append(list, entry{name, number})
	}
	return list
}

// directory returns a block of a directory: a list of struct ext4_dir_entry_2,
// the last of which reaches to the checksum. Without entries it is free space.
func (v volume) directory(number int64, list []entry) []byte {
	e := make(encoder, blockSize)
	const end = blockSize - tailSize
	at := 0
	for i, x := range list {
		if x.inode == 0 {
			x.inode = number
		}
		length := 8 + (len(x.name)+3)/4*4
		if i == len(list)-1 {
			length = end - at
		}
		e.u32(at, x.inode)
		e.u16(at+4, int64(length))
		e.u8(at+6, int64(len(x.name)))
		e.u8(at+7, fileTypeDir)
		copy(e[at+8:], x.name)
		at += length
	}
	if len(list) == 0 {
		e.u16(4, end)
	}
	e.u16(end+4, tailSize)
	e.u8(end+7, tailFileType)
	e.u32(end+8, int64(checksum(v.inodeSeed(number), e[:end])))
	return e
}
