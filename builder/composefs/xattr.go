package composefs

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

const (
	xattrHeaderSize = 12         // struct erofs_xattr_ibody_header
	xattrEntrySize  = 4          // struct erofs_xattr_entry and a shared xattr's id
	xattrFilterSeed = 0x25BBE08F // EROFS_XATTR_FILTER_SEED
	xattrMaxShared  = 128        // references that mkcomposefs allows per inode
)

type xattr struct{ name, value string }

// xattrPrefixes are the names' prefixes that EROFS stores as an index.
var xattrPrefixes = [...]struct {
	prefix string
	index  byte
}{
	{"user.", 1},
	{"system.posix_acl_access", 2},
	{"system.posix_acl_default", 3},
	{"trusted.", 4},
	{"security.", 6},
}

// split returns the index of the name's prefix and the rest of the name.
func (x xattr) split() (index byte, rest string) {
	for _, p := range xattrPrefixes {
		if rest, ok := strings.CutPrefix(x.name, p.prefix); ok {
			return p.index, rest
		}
	}
	return 0, x.name
}

// size returns the length of the xattr's entry, which is a multiple of 4.
func (x xattr) size() int64 {
	_, rest := x.split()
	return align(int64(xattrEntrySize+len(rest)+len(x.value)), 4)
}

// append appends the xattr's entry.
func (x xattr) append(b []byte) []byte {
	index, rest := x.split()
	b = append(b, byte(len(rest)), index)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(x.value)))
	b = append(append(b, rest...), x.value...)
	for n := xattrEntrySize + len(rest) + len(x.value); n%4 != 0; n++ {
		b = append(b, 0)
	}
	return b
}

// sortXattrs makes the sorted list of the xattrs.
func (f *file) sortXattrs() {
	f.xattrs = make([]xattr, 0, len(f.attrs))
	for _, name := range slices.Sorted(maps.Keys(f.attrs)) {
		f.xattrs = append(f.xattrs, xattr{name, f.attrs[name]})
	}
}

// sharedXattrs is the area of xattrs that several inodes refer to.
type sharedXattrs struct {
	order  []xattr
	offset map[xattr]int64 // in the area
	size   int64
}

// shareXattrs finds the xattrs that occur at least twice and orders them by
// name, length and value, all descending.
func shareXattrs(files []*file) sharedXattrs {
	uses := map[xattr]int{}
	for _, f := range files {
		for _, x := range f.xattrs {
			uses[x]++
		}
	}
	s := sharedXattrs{offset: map[xattr]int64{}}
	for x, n := range uses {
		if n > 1 {
			s.order = append(s.order, x)
		}
	}
	slices.SortFunc(s.order, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(b.name, a.name), cmp.Compare(len(b.value), len(a.value)), cmp.Compare(b.value, a.value))
	})
	for _, x := range s.order {
		s.offset[x] = s.size
		s.size += x.size()
	}
	return s
}

// divide splits a file's xattrs into references to shared ones and its own.
func (s sharedXattrs) divide(f *file) (shared, own []xattr) {
	for _, x := range f.xattrs {
		if _, ok := s.offset[x]; ok && len(shared) < xattrMaxShared {
			shared = append(shared, x)
		} else {
			own = append(own, x)
		}
	}
	return shared, own
}

// bodySize returns the length of what lies behind the inode for its xattrs.
func (s sharedXattrs) bodySize(f *file) int64 {
	if len(f.xattrs) == 0 {
		return 0
	}
	shared, own := s.divide(f)
	n := int64(xattrHeaderSize + xattrEntrySize*len(shared))
	for _, x := range own {
		n += x.size()
	}
	return n
}

// appendBody appends what lies behind the inode for its xattrs. Shared ones are
// named by their distance, in 4-byte units, from the block in which the shared
// area begins; start is the area's offset in that block.
func (s sharedXattrs) appendBody(b []byte, f *file, start int64) []byte {
	if len(f.xattrs) == 0 {
		return b
	}
	shared, own := s.divide(f)
	b = binary.LittleEndian.AppendUint32(b, nameFilter(f.xattrs))
	b = append(b, byte(len(shared)), 0, 0, 0, 0, 0, 0, 0)
	for _, x := range shared {
		b = binary.LittleEndian.AppendUint32(b, uint32((start+s.offset[x])/4))
	}
	for _, x := range own {
		b = x.append(b)
	}
	return b
}

// nameFilter returns the Bloom filter of the names: a bit is cleared for each.
func nameFilter(xattrs []xattr) uint32 {
	filter := ^uint32(0)
	for _, x := range xattrs {
		index, rest := x.split()
		filter &^= 1 << (xxh32([]byte(rest), xattrFilterSeed+uint32(index)) & 31)
	}
	return filter
}
