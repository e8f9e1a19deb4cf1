package iso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"
	"unicode/utf16"
)

const (
	standardID = "CD001"
	// preparer names the program that laid the volume out.
	preparer = "BOOTSMITH"

	typeBootRecord    = 0
	typePrimary       = 1
	typeSupplementary = 2
	typeTerminator    = 255
)

// descriptorHead begins every volume descriptor (ECMA-119, 8.1).
func descriptorHead(kind byte) []byte {
	b := make([]byte, SectorSize)
	b[0] = kind
	copy(b[1:], standardID)
	b[6] = 1
	return b
}

func terminator() []byte { return descriptorHead(typeTerminator) }

// primaryDescriptor returns the primary volume descriptor (ECMA-119, 8.4).
func (v *volume) primaryDescriptor() []byte {
	return v.descriptor(typePrimary, v.plain, func(s string, size int) []byte {
		return append([]byte(s), bytes.Repeat([]byte{' '}, size-len(s))...)
	})
}

// jolietDescriptor returns the supplementary volume descriptor (ECMA-119, 8.5)
// with the escape sequence of UCS-2 level 3 and texts in UCS-2.
func (v *volume) jolietDescriptor() []byte {
	b := v.descriptor(typeSupplementary, v.joliet, func(s string, size int) []byte {
		text := utf16.Encode([]rune(s))
		for len(text) < size/2 {
			text = append(text, ' ')
		}
		return append(bigEndian(text[:size/2]), make([]byte, size%2)...)
	})
	copy(b[88:], "%/E")
	return b
}

// descriptor encodes what both kinds have in common:
//
//	8    32 system identifier           40   32 volume identifier
//	80   8  number of sectors           120  4  volume set size, 1
//	124  4  volume number, 1            128  4  sector size
//	132  8  path table size             140  4  path table L, 148 4  path table M
//	156  34 the root directory's record
//	190  128 each: volume set, publisher, data preparer, application
//	702  37 each: copyright, abstract and bibliographic file
//	813  17 each: time of creation, modification, expiration, effectiveness
//	881  1  file structure version, 1
func (v *volume) descriptor(kind byte, h *hierarchy, text func(s string, size int) []byte) []byte {
	b := descriptorHead(kind)
	copy(b[8:], text("", 32))
	copy(b[40:], text(v.cfg.VolumeID, 32))
	copy(b[80:], both32(nil, uint32(v.sectors)))
	copy(b[120:], both16(nil, 1))
	copy(b[124:], both16(nil, 1))
	copy(b[128:], both16(nil, SectorSize))
	copy(b[132:], both32(nil, uint32(h.tableSize)))
	binary.LittleEndian.PutUint32(b[140:], uint32(h.tables[0]))
	binary.BigEndian.PutUint32(b[148:], uint32(h.tables[1]))
	copy(b[156:], h.record(nil, []byte{0}, h.dirs[0].section(), flagDirectory, nil))
	copy(b[190:], text("", 128))
	copy(b[318:], text("", 128))
	copy(b[446:], text(preparer, 128))
	copy(b[574:], text("", 128))
	for at := 702; at < 813; at += 37 {
		copy(b[at:], text("", 37))
	}
	copy(b[813:], longTime(v.cfg.Time))
	copy(b[830:], longTime(v.cfg.Time))
	copy(b[847:], noTime)
	copy(b[864:], longTime(v.cfg.Time))
	b[881] = 1
	return b
}

// noTime stands for a time that is not given.
const noTime = "0000000000000000\x00"

// longTime encodes a time in digits (ECMA-119, 8.4.26.1).
func longTime(t time.Time) string {
	return t.UTC().Format("20060102150405") + "00\x00"
}

// bootRecord returns the boot record volume descriptor (El Torito 1.0, figure
// 7): where the catalog is.
func (v *volume) bootRecord() []byte {
	b := descriptorHead(typeBootRecord)
	copy(b[7:], "EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[71:], uint32(v.catalog))
	return b
}

// bootCatalog returns the catalog with one entry (El Torito 1.0, figures 2 and
// 3; the platform is UEFI's):
//
//	0   1  header, 1                 1   1  platform, EFI
//	28  2  makes the sum of the words 0      30  2  0x55, 0xaa
//	32  1  bootable                  33  1  no emulation
//	38  2  sectors of 512 bytes      40  4  first sector
//
// An image that the count is too small for has a count of 0, which means that it
// may extend to the end of the volume (UEFI 2.10, section 13.3.2.1).
func (v *volume) bootCatalog() []byte {
	b := make([]byte, SectorSize)
	b[0], b[1], b[30], b[31] = 1, 0xef, 0x55, 0xaa
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	binary.LittleEndian.PutUint16(b[28:], -sum)
	b[32] = 0x88
	if n := (v.cfg.Boot.Image.Size() + 511) / 512; n <= math.MaxUint16 {
		binary.LittleEndian.PutUint16(b[38:], uint16(n))
	}
	binary.LittleEndian.PutUint32(b[40:], uint32(v.boot))
	return b
}

// checkTime refuses times that a directory record has no year for.
func checkTime(t time.Time) error {
	if y := t.UTC().Year(); y < 1970 || y > 1900+math.MaxUint8 {
		return fmt.Errorf("the year %d is not within 1970 to %d", y, 1900+math.MaxUint8)
	}
	return nil
}
