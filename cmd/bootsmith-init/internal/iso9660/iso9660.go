// Package iso9660 recognises ISO 9660 file systems by their primary volume
// descriptor (ECMA-119, section 8.4).
package iso9660

import (
	"encoding/binary"
	"strings"
)

// Offset is the place of the first volume descriptor, Size its length, in
// bytes: ECMA-119 keeps the first 16 sectors of 2048 bytes free.
const (
	Offset = 16 * 2048
	Size   = 2048
)

// Volume is what a primary volume descriptor tells.
type Volume struct {
	// ID is the volume identifier without the spaces at its end.
	ID string
	// Size is the file system's size in bytes.
	Size int64
}

// Parse reads the Size bytes at Offset. It reports false for what isn't the
// primary volume descriptor of a file system that Linux can mount:
//
//	0    1  type, 1
//	1    5  "CD001"
//	6    1  version, 1
//	40   32 volume identifier
//	80   8  number of logical blocks, little-endian and then big-endian
//	128  4  logical block size, the same way
func Parse(b []byte) (Volume, bool) {
	if len(b) < Size || string(b[:7]) != "\x01CD001\x01" {
		return Volume{}, false
	}
	blocks := binary.LittleEndian.Uint32(b[80:])
	blockSize := binary.LittleEndian.Uint16(b[128:])
	if blocks == 0 || blocks != binary.BigEndian.Uint32(b[84:]) || blockSize != binary.BigEndian.Uint16(b[130:]) {
		return Volume{}, false
	}
	switch blockSize {
	case 512, 1024, 2048:
	default:
		return Volume{}, false
	}
	return Volume{ID: strings.TrimRight(string(b[40:72]), " \x00"), Size: int64(blocks) * int64(blockSize)}, true
}
