package fat

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// bootSector returns the boot sector with the BIOS parameter block (fatgen103,
// "Boot Sector and BPB Structure"). A BIOS that starts the volume is told that
// there is nothing to boot.
func (v volume) bootSector() []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b[0:], "\xeb\x58\x90MSWIN4.1") // the name that all drivers accept
	le.PutUint16(b[11:], sectorSize)
	b[13] = byte(v.geo.perCluster)
	le.PutUint16(b[14:], reservedSectors)
	b[16] = 2    // FATs
	b[21] = 0xf8 // fixed disk
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], v.cfg.HiddenSectors)
	le.PutUint32(b[32:], uint32(v.geo.sectors))
	le.PutUint32(b[36:], uint32(v.geo.fatSectors))
	le.PutUint32(b[44:], rootCluster)
	le.PutUint16(b[48:], infoSector)
	le.PutUint16(b[50:], backupSector)
	b[64] = 0x80 // first hard disk
	b[66] = 0x29 // the next three fields are present
	le.PutUint32(b[67:], v.cfg.VolumeID)
	copy(b[71:], v.label[:])
	copy(b[82:], "FAT32   ")
	copy(b[90:], "\xcd\x18\xeb\xfe") // int 0x18 (try the next device), then halt
	le.PutUint16(b[510:], 0xaa55)
	return b
}

// infoSector returns the FSInfo sector; the first used clusters are in use.
func (v volume) infoSector(used int64) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	le.PutUint32(b[0:], 0x41615252)
	le.PutUint32(b[484:], 0x61417272)
	le.PutUint32(b[488:], uint32(v.geo.clusters-used))
	next := uint32(0xffffffff) // unknown: there is none
	if used < v.geo.clusters {
		next = uint32(used + rootCluster)
	}
	le.PutUint32(b[492:], next)
	le.PutUint32(b[508:], 0xaa550000)
	return b
}

// encodeLabel returns the label padded with spaces, or "NO NAME".
func encodeLabel(label string) ([11]byte, error) {
	out := [11]byte([]byte("NO NAME    "))
	if label == "" {
		return out, nil
	}
	if len(label) > len(out) || strings.HasPrefix(label, " ") || strings.HasSuffix(label, " ") {
		return out, fmt.Errorf("encoding the volume label %q: it has 1 to 11 characters and no space at its ends", label)
	}
	for i := range len(label) {
		if c := label[i]; c != ' ' && !isShortChar(rune(c)) {
			return out, fmt.Errorf("encoding the volume label %q: the character %q is not allowed", label, c)
		}
	}
	copy(out[:], "           ")
	copy(out[:], label)
	return out, nil
}
