package hwdb

import "encoding/binary"

// Sizes of the format's records in bytes.
const (
	headerSize = 80
	nodeSize   = 24
	childSize  = 16
	valueSize  = 32
	// toolVersion is the version of systemd whose format this is.
	toolVersion = 257
)

// encode returns the database; all numbers are little-endian, offsets count
// from the start of the file.
//
//	header: "KSLPHHRH", u64 tool version, u64 file size, u64 sizes of header,
//	node, child and value, u64 offset of the root node, u64 size of all nodes,
//	u64 size of the strings
//	node: u64 offset of the prefix, u8 number of children, 7 bytes zero,
//	u64 number of values; its children; its values
//	child: u8 character, 7 bytes zero, u64 offset of the node
//	value: u64 offsets of key, value and file name, u32 line, u16 priority of
//	the file, u16 zero
//	strings, each ended by NUL; the first is empty
func (n *node) encode() []byte {
	size := n.size()
	e := &encoder{
		out:     make([]byte, headerSize, headerSize+size),
		strings: []byte{0},
		offsets: map[string]uint64{"": 0},
		base:    uint64(headerSize + size),
	}
	root := e.node(n)
	h := append([]byte("KSLPHHRH"), make([]byte, 0, headerSize)...)
	for _, x := range []int{toolVersion, len(e.out) + len(e.strings), headerSize, nodeSize, childSize, valueSize, int(root), size, len(e.strings)} {
		h = binary.LittleEndian.AppendUint64(h, uint64(x))
	}
	copy(e.out, h)
	return append(e.out, e.strings...)
}

// size returns the size of the node and all below it, without strings.
func (n *node) size() int {
	size := nodeSize + childSize*len(n.children) + valueSize*len(n.values)
	for _, c := range n.children {
		size += c.node.size()
	}
	return size
}

type encoder struct {
	out     []byte
	strings []byte
	offsets map[string]uint64 // of strings that are there already
	base    uint64            // offset of the strings
}

func (e *encoder) string(s string) uint64 {
	at, ok := e.offsets[s]
	if !ok {
		at = uint64(len(e.strings))
		e.offsets[s] = at
		e.strings = append(append(e.strings, s...), 0)
	}
	return e.base + at
}

func (e *encoder) u64(n uint64) { e.out = binary.LittleEndian.AppendUint64(e.out, n) }

// node writes a node behind its children and returns its offset.
func (e *encoder) node(n *node) uint64 {
	offsets := make([]uint64, len(n.children))
	for i, c := range n.children {
		offsets[i] = e.node(c.node)
	}
	at := uint64(len(e.out))
	e.u64(e.string(n.prefix))
	e.u64(uint64(byte(len(n.children))))
	e.u64(uint64(len(n.values)))
	for i, c := range n.children {
		e.u64(uint64(c.c))
		e.u64(offsets[i])
	}
	for _, v := range n.values {
		e.u64(e.string(v.key))
		e.u64(e.string(v.text))
		e.u64(e.string(v.path))
		e.out = binary.LittleEndian.AppendUint32(e.out, v.line)
		e.out = binary.LittleEndian.AppendUint16(e.out, v.priority)
		e.out = append(e.out, 0, 0)
	}
	return at
}
