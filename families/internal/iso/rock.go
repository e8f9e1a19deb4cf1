package iso

import (
	"encoding/binary"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// System use fields begin with a signature of two characters, their length and
// a version (SUSP 1.12, section 4.1).
const (
	fieldHeader = 4
	maxField    = 255
	// continuationSize is the length of a CE field (SUSP 5.1).
	continuationSize = 28
)

func field(signature string, data ...byte) []byte {
	return append([]byte{signature[0], signature[1], byte(fieldHeader + len(data)), 1}, data...)
}

// rockRidge returns the fields of a name: RRIP 1.10, section 4.1.
func (n *node) rockRidge(t time.Time) [][]byte {
	fields := append([][]byte{n.posix()}, timeStamps(t))
	fields = append(fields, nameFields(n.name)...)
	if n.entry.Mode&fs.ModeSymlink != 0 {
		fields = append(fields, linkFields(n.entry.Target)...)
	}
	return fields
}

// posix is the field PX: mode, links, owner, group. Everything is root's.
func (n *node) posix() []byte {
	mode := uint32(n.entry.Mode.Perm())
	switch n.entry.Mode.Type() {
	case fs.ModeDir:
		mode |= 0o040000
	case fs.ModeSymlink:
		mode |= 0o120000
	default:
		mode |= 0o100000
	}
	data := both32(nil, mode)
	data = both32(data, n.links())
	return field("PX", append(data, make([]byte, 16)...)...)
}

// timeStamps is the field TF with the times of modification, access and change.
func timeStamps(t time.Time) []byte {
	data := []byte{0b1110}
	for range 3 {
		data = append(data, shortTime(t)...)
	}
	return field("TF", data...)
}

// nameFields are the fields NM; bit 0 says that the name goes on in the next.
func nameFields(name string) [][]byte {
	const room = maxField - fieldHeader - 1
	var fields [][]byte
	for len(name) > room {
		fields = append(fields, field("NM", append([]byte{1}, name[:room]...)...))
		name = name[room:]
	}
	return append(fields, field("NM", append([]byte{0}, name...)...))
}

// Flags of a component of a link's target (RRIP 4.1.3.1).
const (
	componentContinues = 1 << 0
	componentCurrent   = 1 << 1
	componentParent    = 1 << 2
	componentRoot      = 1 << 3
)

// linkFields are the fields SL: a flag byte, of which bit 0 says that the
// target goes on in the next field, then the target's elements.
func linkFields(target string) [][]byte {
	const room = maxField - fieldHeader - 1
	var fields [][]byte
	var data []byte
	for _, c := range components(target) {
		if len(data)+len(c) > room {
			fields = append(fields, field("SL", append([]byte{1}, data...)...))
			data = nil
		}
		data = append(data, c...)
	}
	return append(fields, field("SL", append([]byte{0}, data...)...))
}

// components encodes the elements of a target: flags, length, content.
func components(target string) [][]byte {
	const room = maxField - fieldHeader - 1 - 2
	var out [][]byte
	if strings.HasPrefix(target, "/") {
		out = append(out, []byte{componentRoot, 0})
		target = target[1:]
	}
	if target == "" {
		return out
	}
	for elem := range strings.SplitSeq(target, "/") {
		switch elem {
		case ".":
			out = append(out, []byte{componentCurrent, 0})
			continue
		case "..":
			out = append(out, []byte{componentParent, 0})
			continue
		}
		for len(elem) > room {
			out = append(out, append([]byte{componentContinues, byte(room)}, elem[:room]...))
			elem = elem[room:]
		}
		out = append(out, append([]byte{0, byte(len(elem))}, elem...))
	}
	return out
}

// sharingProtocol is the field SP, which begins the root directory's own record
// and says that SUSP is in use (SUSP 5.3).
func sharingProtocol() []byte { return field("SP", 0xbe, 0xef, 0) }

// extensionReference is the field ER, which names Rock Ridge (RRIP 4.3).
func extensionReference() []byte {
	const (
		id          = "RRIP_1991A"
		description = "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
		source      = "PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE. " +
			"SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
	)
	data := []byte{byte(len(id)), byte(len(description)), byte(len(source)), 1}
	return field("ER", append(data, id+description+source...)...)
}

// continuation collects the system use fields that records have no room for,
// in the sectors behind a directory's records.
type continuation struct {
	sector int64 // of the first byte
	data   []byte
}

// pack returns the fields that fit into room bytes; when some don't, the last of
// what it returns is a CE field that says where they are.
func (c *continuation) pack(fields [][]byte, room int) []byte {
	if len(slices.Concat(fields...)) <= room {
		return slices.Concat(fields...)
	}
	var head []byte
	for len(fields) > 0 && len(head)+len(fields[0]) <= room-continuationSize {
		head = append(head, fields[0]...)
		fields = fields[1:]
	}
	at, size := c.store(c.pack(fields, SectorSize))
	data := both32(nil, uint32(c.sector+at/SectorSize))
	data = both32(data, uint32(at%SectorSize))
	data = both32(data, uint32(size))
	return append(head, field("CE", data...)...)
}

// store keeps an area within one sector, as Linux asks for, and returns its
// place in data and its size.
func (c *continuation) store(area []byte) (at int64, size int) {
	if len(c.data)%SectorSize+len(area) > SectorSize {
		c.data = padSector(c.data)
	}
	at = int64(len(c.data))
	c.data = append(c.data, area...)
	return at, len(area)
}

func padSector(b []byte) []byte {
	return append(b, make([]byte, (SectorSize-len(b)%SectorSize)%SectorSize)...)
}

// both32 appends a number in both byte orders (ECMA-119, 7.3.3).
func both32(b []byte, n uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, n)
	return binary.BigEndian.AppendUint32(b, n)
}

// both16 appends a number in both byte orders (ECMA-119, 7.2.3).
func both16(b []byte, n uint16) []byte {
	b = binary.LittleEndian.AppendUint16(b, n)
	return binary.BigEndian.AppendUint16(b, n)
}

// shortTime encodes a time as directory records have it (ECMA-119, 9.1.5).
func shortTime(t time.Time) []byte {
	t = t.UTC()
	return []byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0}
}
