package qcow2

import "encoding/binary"

const (
	headerLength = 104
	// refcountOrder 4 means counters of 16 bits.
	refcountOrder = 4
	countsPer     = clusterSize / 2 // counters in a refcount block

	// Flags of L1 and L2 entries.
	copied     = 1 << 63 // the cluster's refcount is exactly one
	compressed = 1 << 62
	// In the entry of a compressed cluster, the bits below hold its offset and
	// those from here on the number of further sectors that it touches.
	sectorShift = 62 - (clusterBits - 8)
)

// entry says where a cluster of the disk waits.
type entry struct {
	index  int64 // of the cluster in the disk
	offset int64 // in its temporary file
	size   int64 // of the compressed bytes; 0 when they are stored as they are
}

// layout is the division of the file; all numbers are clusters.
type layout struct {
	size                  int64 // of the disk, in bytes
	refTable, refBlocks   int64 // how many
	l1, l2                int64
	l1Entries             int64
	rawClusters, packed   int64
	rawStart, packedStart int64 // in bytes
	total                 int64
}

func newLayout(size int64, entries []entry, rawBytes, packedBytes int64) layout {
	l := layout{
		size:        size,
		l1Entries:   ceil(size, l2Entries*clusterSize),
		rawClusters: rawBytes / clusterSize,
		packed:      ceil(packedBytes, clusterSize),
	}
	l.l1 = ceil(l.l1Entries*8, clusterSize)
	last := int64(-1)
	for _, e := range entries {
		if table := e.index / l2Entries; table != last {
			l.l2++
			last = table
		}
	}
	// The refcounts count themselves: grow until they are enough.
	for {
		l.total = 1 + l.refTable + l.refBlocks + l.l1 + l.l2 + l.rawClusters + l.packed
		blocks := ceil(l.total, countsPer)
		tables := ceil(blocks*8, clusterSize)
		if blocks == l.refBlocks && tables == l.refTable {
			break
		}
		l.refBlocks, l.refTable = blocks, tables
	}
	l.packedStart = (l.total - l.packed) * clusterSize
	l.rawStart = l.packedStart - l.rawClusters*clusterSize
	return l
}

// Offsets in the file, in bytes.
func (l layout) refBlockStart() int64 { return (1 + l.refTable) * clusterSize }
func (l layout) l1Start() int64       { return l.refBlockStart() + l.refBlocks*clusterSize }
func (l layout) l2Start() int64       { return l.l1Start() + l.l1*clusterSize }

// header returns the first cluster ("Header" in qcow2.txt), without extensions.
func (l layout) header() []byte {
	b := make([]byte, clusterSize)
	be := binary.BigEndian
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], clusterBits)
	be.PutUint64(b[24:], uint64(l.size))
	be.PutUint32(b[36:], uint32(l.l1Entries))
	be.PutUint64(b[40:], uint64(l.l1Start()))
	be.PutUint64(b[48:], clusterSize) // refcount table
	be.PutUint32(b[56:], uint32(l.refTable))
	be.PutUint32(b[96:], refcountOrder)
	be.PutUint32(b[100:], headerLength)
	return b
}

// refTableBytes returns the refcount table: the offsets of the blocks.
func (l layout) refTableBytes() []byte {
	b := make([]byte, l.refTable*clusterSize)
	for i := range l.refBlocks {
		binary.BigEndian.PutUint64(b[i*8:], uint64(l.refBlockStart()+i*clusterSize))
	}
	return b
}

// refBlockBytes returns the refcount blocks: one reference to every cluster but
// the packed ones, which have one for each compressed cluster that touches them.
func (l layout) refBlockBytes(entries []entry) []byte {
	counts := make([]uint16, l.refBlocks*countsPer)
	for i := range l.total - l.packed {
		counts[i] = 1
	}
	for _, e := range entries {
		if e.size == 0 {
			continue
		}
		first := (l.packedStart + e.offset) / clusterSize
		last := (l.packedStart + e.offset + e.size - 1) / clusterSize
		for i := first; i <= last; i++ {
			counts[i]++
		}
	}
	b := make([]byte, 0, len(counts)*2)
	for _, c := range counts {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	return b
}

// tables returns the L1 table and the L2 tables that it points to.
func (l layout) tables(entries []entry) (l1, l2 []byte) {
	be := binary.BigEndian
	l1 = make([]byte, l.l1*clusterSize)
	l2 = make([]byte, l.l2*clusterSize)
	last, at := int64(-1), int64(-1)
	for _, e := range entries {
		table := e.index / l2Entries
		if table != last {
			last = table
			at++
			be.PutUint64(l1[table*8:], uint64(l.l2Start()+at*clusterSize)|copied)
		}
		be.PutUint64(l2[at*clusterSize+e.index%l2Entries*8:], l.l2Entry(e))
	}
	return l1, l2
}

// l2Entry encodes a cluster's place ("Standard Cluster Descriptor",
// "Compressed Clusters Descriptor").
func (l layout) l2Entry(e entry) uint64 {
	if e.size == 0 {
		return uint64(l.rawStart+e.offset) | copied
	}
	offset := l.packedStart + e.offset
	further := (offset+e.size-1)/512 - offset/512
	return uint64(offset) | uint64(further)<<sectorShift | compressed
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }
