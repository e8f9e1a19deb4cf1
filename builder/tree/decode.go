package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// maxDepth bounds how deep a decoded tree may be: what a path of PATH_MAX bytes
// can name.
const maxDepth = 2048

// Decode reads what Encode wrote. It reports whatever Encode would not have
// written, but can't tell whether the contents exist.
func Decode(data []byte) (*Tree, error) {
	d := &decoder{rest: data}
	if v := d.number(math.MaxUint64); v != EncodingVersion {
		return nil, fmt.Errorf("decoding a tree: version %d is not %d", v, EncodingVersion)
	}
	root := d.node(0)
	switch {
	case d.failed:
	case root.Name != "" || !root.Inode.IsDir():
		d.failed = true
	case len(d.rest) > 0:
		d.failed = true
	}
	if d.failed {
		return nil, errors.New("decoding a tree: the data is malformed")
	}
	root.parent = root
	root.Inode.linkNumber = 1
	return &Tree{Root: root}, nil
}

// decoder takes data apart; the first error sticks, and what is read after it
// is zero.
type decoder struct {
	rest   []byte
	inodes []*Inode
	failed bool
}

// number returns an integer of at most limit.
func (d *decoder) number(limit uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > limit {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) signed() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) fail() { d.failed, d.rest = true, nil }

// bytes returns the next n bytes, of the input itself.
func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes(d.number(math.MaxInt32))) }

func (d *decoder) node(depth int) *Node {
	n := &Node{Name: d.text(), Inode: &Inode{}}
	number := d.number(uint64(len(d.inodes)))
	if d.failed || depth > maxDepth {
		d.fail()
		return n
	}
	if number < uint64(len(d.inodes)) {
		if n.Inode = d.inodes[number]; n.Inode.IsDir() {
			d.fail() // directories have one name
		}
		return n
	}
	d.inodes = append(d.inodes, n.Inode)
	d.inode(n.Inode)
	if n.Inode.IsDir() {
		d.children(n, depth)
	}
	return n
}

func (d *decoder) children(n *Node, depth int) {
	count := d.number(uint64(len(d.rest)))
	for ; count > 0 && !d.failed; count-- {
		c := d.node(depth + 1)
		if !isName(c.Name) || len(n.children) > 0 && n.children[len(n.children)-1].Name >= c.Name {
			d.fail()
			return
		}
		c.parent = n
		c.Inode.linkNumber++
		n.children = append(n.children, c)
	}
}

// isName tells whether a string can be one element of a path.
func isName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= 255 && !strings.ContainsAny(s, "/\x00")
}

func (d *decoder) inode(i *Inode) {
	i.Mode = uint32(d.number(math.MaxUint32))
	i.UID, i.GID = uint32(d.number(math.MaxUint32)), uint32(d.number(math.MaxUint32))
	i.Mtime, i.MtimeNsec = d.signed(), uint32(d.number(999_999_999))
	for count := d.number(uint64(len(d.rest))); count > 0 && !d.failed; count-- {
		if i.Xattrs == nil {
			i.Xattrs = map[string]string{}
		}
		name := d.text()
		i.Xattrs[name] = d.text()
	}
	switch i.Type() {
	case TypeRegular:
		d.content(i)
	case TypeSymlink:
		i.Target = d.text()
	case TypeBlock, TypeChar:
		i.Major, i.Minor = uint32(d.number(math.MaxUint32)), uint32(d.number(math.MaxUint32))
	case TypeDir, TypeFifo, TypeSocket:
	default:
		d.fail()
	}
}

func (d *decoder) content(i *Inode) {
	i.Size = int64(d.number(math.MaxInt64))
	copy(i.Content.SHA256[:], d.bytes(32))
	copy(i.Content.Verity[:], d.bytes(32))
	if i.Size > InlineMax {
		return
	}
	if i.Content.Inline = append([]byte{}, d.bytes(d.number(InlineMax))...); int64(len(i.Content.Inline)) != i.Size {
		d.fail()
	}
}
