package fat

import (
	"encoding/binary"
	"time"
	"unicode/utf16"
)

const (
	entrySize     = 32
	unitsPerEntry = 13      // UTF-16 code units of a long name
	maxEntries    = 1 << 16 // a directory has at most 2 MiB
)

// stamp is a time as directory entries hold it.
type stamp struct{ date, time uint16 }

// newStamp converts t; what the format can't express becomes the nearest time
// that it can (fatgen103, "Date and Time Formats").
func newStamp(t time.Time) stamp {
	t = t.UTC()
	switch {
	case t.Year() < 1980:
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 2107:
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	return stamp{
		date: uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()),
		time: uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2),
	}
}

// directory returns the bytes of a directory.
func (v volume) directory(d *node) []byte {
	out := make([]byte, 0, d.entries()*entrySize)
	if d.label {
		out = v.entry(out, v.label, attrVolume, 0, 0)
	}
	if d.parent != nil {
		out = v.entry(out, dotName("."), attrDir, d.cluster, 0)
		up := d.parent.cluster
		if d.parent.parent == nil {
			up = 0 // the root, whatever its cluster
		}
		out = v.entry(out, dotName(".."), attrDir, up, 0)
	}
	for _, c := range d.children {
		out = appendLongName(out, c)
		if c.isDir {
			out = v.entry(out, c.short, attrDir, c.cluster, 0)
		} else {
			out = v.entry(out, c.short, attrArchive, c.cluster, c.file.Size)
		}
	}
	return out
}

func dotName(dots string) [11]byte {
	name := [11]byte([]byte("           "))
	copy(name[:], dots)
	return name
}

// entry appends a 32-byte directory entry.
func (v volume) entry(out []byte, name [11]byte, attr byte, cluster uint32, size int64) []byte {
	le := binary.LittleEndian
	out = append(out, name[:]...)
	out = append(out, attr, 0, 0)
	out = le.AppendUint16(out, v.stamp.time) // created
	out = le.AppendUint16(out, v.stamp.date)
	out = le.AppendUint16(out, v.stamp.date) // accessed
	out = le.AppendUint16(out, uint16(cluster>>16))
	out = le.AppendUint16(out, v.stamp.time) // written
	out = le.AppendUint16(out, v.stamp.date)
	out = le.AppendUint16(out, uint16(cluster))
	return le.AppendUint32(out, uint32(size))
}

// longEntries returns the number of entries that hold the long name.
func longEntries(n *node) int64 {
	if n.isShort() {
		return 0
	}
	return ceil(int64(len(utf16.Encode([]rune(n.name)))), unitsPerEntry)
}

// unitOffsets are the places of a long name's code units in an entry.
var unitOffsets = [unitsPerEntry]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// appendLongName appends the entries of the long name, last part first, as they
// stand before the short entry (fatgen103, "FAT Long Directory Entries").
func appendLongName(out []byte, n *node) []byte {
	count := longEntries(n)
	if count == 0 {
		return out
	}
	units := append(utf16.Encode([]rune(n.name)), 0)
	for len(units) < int(count)*unitsPerEntry {
		units = append(units, 0xffff)
	}
	for i := count; i > 0; i-- {
		var e [entrySize]byte
		e[0] = byte(i)
		if i == count {
			e[0] |= 0x40
		}
		e[11] = attrLongName
		e[13] = checksum(n.short)
		part := units[(i-1)*unitsPerEntry:]
		for j, at := range unitOffsets {
			binary.LittleEndian.PutUint16(e[at:], part[j])
		}
		out = append(out, e[:]...)
	}
	return out
}

// checksum ties long entries to their short one.
func checksum(short [11]byte) byte {
	sum := byte(0)
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}
