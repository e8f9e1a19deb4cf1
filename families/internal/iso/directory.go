package iso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

const (
	flagDirectory = 1 << 1
	flagMore      = 1 << 7 // not the last section of the file (ECMA-119, 9.1.6)
	// maxRecord is the longest directory record; its length is even and fits
	// into a byte.
	maxRecord = 254
	// maxDirectories is what a path table's parent numbers can tell apart.
	maxDirectories = 1<<16 - 1
)

// hierarchy is one of the volume's two trees of directories over the same
// files.
type hierarchy struct {
	time      time.Time
	joliet    bool
	dirs      []*directory // in the order of the path table
	tables    [2]int64     // first sectors of the path tables L and M
	tableSize int64        // of a path table, in bytes
}

// directory is one directory in one hierarchy.
type directory struct {
	node    *node
	parent  *directory // the root's is itself
	number  int        // in the path table, from 1
	id      []byte
	entries []dirEntry
	start   int64 // first sector
	size    int64 // of the records, in bytes; a multiple of SectorSize
}

// dirEntry is a name in a directory; dir is nil unless it is a directory.
type dirEntry struct {
	node *node
	id   []byte
	dir  *directory
}

func newHierarchy(root *node, joliet bool, t time.Time) (*hierarchy, error) {
	h := &hierarchy{time: t, joliet: joliet}
	top := &directory{node: root, id: []byte{0}}
	top.parent = top
	for level := []*directory{top}; len(level) > 0; {
		var next []*directory
		for _, d := range level {
			h.dirs = append(h.dirs, d)
			d.number = len(h.dirs)
			next = append(next, h.fill(d)...)
		}
		level = next
	}
	if len(h.dirs) > maxDirectories {
		return nil, fmt.Errorf("%d directories: at most %d fit", len(h.dirs), maxDirectories)
	}
	for _, d := range h.dirs {
		h.tableSize += int64(len(d.pathRecord(binary.LittleEndian)))
	}
	return h, nil
}

// fill names the entries of a directory and returns those that are directories
// in the order of their names, which is the order of the path table (ECMA-119,
// 9.4.7).
func (h *hierarchy) fill(d *directory) []*directory {
	names, compare := shortNames, compareShort
	if h.joliet {
		names, compare = jolietNames, compareJoliet
	}
	for n, id := range names(d.node) {
		e := dirEntry{node: n, id: id}
		if n.isDir() {
			e.dir = &directory{node: n, parent: d, id: id}
		}
		d.entries = append(d.entries, e)
	}
	slices.SortFunc(d.entries, func(a, b dirEntry) int { return compare(a.id, b.id) })
	var dirs []*directory
	for _, e := range d.entries {
		if e.dir != nil {
			dirs = append(dirs, e.dir)
		}
	}
	slices.SortFunc(dirs, func(a, b *directory) int { return bytes.Compare(a.id, b.id) })
	return dirs
}

// placeTables gives the path tables their sectors, from next on, and returns
// the first sector behind them.
func (h *hierarchy) placeTables(next int64) int64 {
	for i := range h.tables {
		h.tables[i] = next
		next += sectors(h.tableSize)
	}
	return next
}

// place gives the directories their sectors, from next on, and returns the
// first sector behind them.
func (h *hierarchy) place(next int64) int64 {
	for _, d := range h.dirs {
		// Lengths don't depend on places, so a trial tells them.
		records, more := h.encode(d)
		d.start, d.size = next, int64(len(records))
		next += int64(len(records)+len(more)) / SectorSize
	}
	return next
}

// encode returns a directory's records and the continuation of their system use
// fields, both whole sectors.
func (h *hierarchy) encode(d *directory) (records, more []byte) {
	c := &continuation{sector: d.start + d.size/SectorSize}
	var out []byte
	add := func(record []byte) {
		if len(out)%SectorSize+len(record) > SectorSize {
			out = padSector(out)
		}
		out = append(out, record...)
	}
	add(h.record(c, []byte{0}, d.section(), flagDirectory, h.selfFields(d)))
	add(h.record(c, []byte{1}, d.parent.section(), flagDirectory, h.ownFields(d.parent.node)))
	for _, e := range d.entries {
		for _, r := range h.records(c, e) {
			add(r)
		}
	}
	return padSector(out), padSector(c.data)
}

func (d *directory) section() section { return section{d.start, d.size} }

// records returns a name's records: one, or one for each section of a file.
func (h *hierarchy) records(c *continuation, e dirEntry) [][]byte {
	var fields [][]byte
	if !h.joliet {
		fields = e.node.rockRidge(h.time)
	}
	if e.dir != nil {
		return [][]byte{h.record(c, e.id, e.dir.section(), flagDirectory, fields)}
	}
	var out [][]byte
	sections := e.node.sections()
	for i, s := range sections {
		flags := byte(0)
		if i < len(sections)-1 {
			flags = flagMore
		}
		out = append(out, h.record(c, e.id, s, flags, fields))
	}
	return out
}

// ownFields are the system use fields of a "." or ".." record.
func (h *hierarchy) ownFields(n *node) [][]byte {
	if h.joliet {
		return nil
	}
	return [][]byte{n.posix(), timeStamps(h.time)}
}

// selfFields are those of a "." record; the root's introduce Rock Ridge.
func (h *hierarchy) selfFields(d *directory) [][]byte {
	fields := h.ownFields(d.node)
	if !h.joliet && d.parent == d {
		fields = append(append([][]byte{sharingProtocol()}, fields...), extensionReference())
	}
	return fields
}

// record encodes a directory record (ECMA-119, 9.1):
//
//	0   1  length of the record, even
//	2   8  first sector      10  8  size in bytes
//	18  7  time              25  1  flags
//	28  4  volume number, 1  32  1  length of the identifier
//	33     identifier, one zero byte when its length is even, system use fields
func (h *hierarchy) record(c *continuation, id []byte, s section, flags byte, fields [][]byte) []byte {
	b := both32([]byte{0, 0}, uint32(s.start))
	b = both32(b, uint32(s.size))
	b = append(b, shortTime(h.time)...)
	b = append(b, flags, 0, 0)
	b = both16(b, 1)
	b = append(b, byte(len(id)))
	b = evenLength(append(b, id...))
	b = evenLength(append(b, c.pack(fields, maxRecord-len(b))...))
	b[0] = byte(len(b))
	return b
}

func evenLength(b []byte) []byte {
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

// pathTable encodes the path table in a byte order (ECMA-119, 9.4).
func (h *hierarchy) pathTable(order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range h.dirs {
		b = append(b, d.pathRecord(order)...)
	}
	return b
}

func (d *directory) pathRecord(order binary.AppendByteOrder) []byte {
	b := []byte{byte(len(d.id)), 0}
	b = order.AppendUint32(b, uint32(d.start))
	b = order.AppendUint16(b, uint16(d.parent.number))
	return evenLength(append(b, d.id...))
}

// sectors returns how many sectors n bytes take.
func sectors(n int64) int64 { return (n + SectorSize - 1) / SectorSize }
