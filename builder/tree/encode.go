package tree

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// EncodingVersion is the version of the format of Encode.
const EncodingVersion = 1

// Encode returns the tree's names and metadata, to be kept in a cache; contents
// are named, not included, but for inline ones. Equal trees have equal forms.
//
// The form is EncodingVersion, then the root directory's node. Integers are
// unsigned varints (encoding/binary), signed ones zigzag, strings and bytes are
// their length and themselves. A node is a name and an inode number: that of an
// inode that came before, for further names of a file, or the next one, which
// is followed by the inode. A directory's inode is followed by the number of its
// entries and their nodes, sorted by name.
//
// An inode is mode, owner, group, mtime (signed), its nanoseconds, the number of
// extended attributes and these as pairs of strings sorted by name, and then, by
// its type: of a file the size, SHA-256 and fs-verity digest (32 bytes each) and,
// up to InlineMax bytes, the content; of a symlink the target; of a device major
// and minor number.
func (t *Tree) Encode() []byte {
	e := encoder{inodes: map[*Inode]uint64{}}
	e.number(EncodingVersion)
	e.node(t.Root)
	return e.Bytes()
}

type encoder struct {
	bytes.Buffer
	inodes map[*Inode]uint64
}

func (e *encoder) number(n uint64) { e.Write(binary.AppendUvarint(e.AvailableBuffer(), n)) }

func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	e.WriteString(s)
}

func (e *encoder) node(n *Node) {
	e.text(n.Name)
	number, again := e.inodes[n.Inode]
	if !again {
		number = uint64(len(e.inodes))
		e.inodes[n.Inode] = number
	}
	e.number(number)
	if again {
		return
	}
	e.inode(n.Inode)
	if !n.Inode.IsDir() {
		return
	}
	e.number(uint64(len(n.children)))
	for _, c := range n.children {
		e.node(c)
	}
}

func (e *encoder) inode(i *Inode) {
	e.number(uint64(i.Mode))
	e.number(uint64(i.UID))
	e.number(uint64(i.GID))
	e.Write(binary.AppendVarint(e.AvailableBuffer(), i.Mtime))
	e.number(uint64(i.MtimeNsec))
	e.number(uint64(len(i.Xattrs)))
	for _, name := range slices.Sorted(maps.Keys(i.Xattrs)) {
		e.text(name)
		e.text(i.Xattrs[name])
	}
	switch i.Type() {
	case TypeRegular:
		e.number(uint64(i.Size))
		e.Write(i.Content.SHA256[:])
		e.Write(i.Content.Verity[:])
		if i.Size <= InlineMax {
			e.text(string(i.Content.Inline))
		}
	case TypeSymlink:
		e.text(i.Target)
	case TypeBlock, TypeChar:
		e.number(uint64(i.Major))
		e.number(uint64(i.Minor))
	}
}
