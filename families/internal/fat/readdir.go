package fat

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// readDir returns a directory's entries by their names alone, without ".", ".."
// and the volume's label.
func (v *Volume) readDir(cluster uint32) ([]Entry, error) {
	runs, err := v.chain(cluster, maxDirSize, true)
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		v.dirsLeft -= run.size
	}
	if v.dirsLeft < 0 {
		return nil, fmt.Errorf("the directories have more than %d bytes", maxDirs)
	}
	var entries []Entry
	var long longName
	buf := make([]byte, v.clusterSize)
	for _, run := range runs {
		for at := int64(0); at < run.size; at += v.clusterSize {
			if n, err := v.r.ReadAt(buf, run.start+at); n < len(buf) {
				return nil, fmt.Errorf("reading a cluster: %w", err)
			}
			for b := buf; len(b) > 0; b = b[entrySize:] {
				if b[0] == 0 {
					return entries, nil
				}
				if e, ok := parseEntry(b[:entrySize], &long); ok {
					entries = append(entries, e)
				}
			}
		}
	}
	return entries, nil
}

// parseEntry reads an entry ("FAT 32 Byte Directory Entry Structure"); ok is
// false for one that names no file. Parts of a long name are kept in long.
//
//	0   11 short name     11  1  attributes
//	20  2  cluster, high  26  2  cluster, low   28  4  size
func parseEntry(b []byte, long *longName) (e Entry, ok bool) {
	attr := b[11] & 0x3f
	switch {
	case b[0] == 0xe5:
		*long = longName{}
		return e, false
	case attr == attrLongName:
		long.add(b)
		return e, false
	}
	name := long.take([11]byte(b))
	if name == "" {
		name = shortName(b)
	}
	if attr&attrVolume != 0 || name == "." || name == ".." || name == "" || strings.ContainsAny(name, "/\x00") {
		return e, false
	}
	le := binary.LittleEndian
	e = Entry{Path: name, IsDir: attr&attrDir != 0, cluster: uint32(le.Uint16(b[20:]))<<16 | uint32(le.Uint16(b[26:]))}
	if !e.IsDir {
		e.Size = int64(le.Uint32(b[28:]))
	}
	return e, true
}

// longName collects a long name, whose parts come last one first.
type longName struct {
	units []uint16
	sum   byte // of the short name that it belongs to
	next  byte // the number of the part that must come now
}

// add takes a part ("FAT Long Directory Entries"):
//
//	0   1  number, with bit 6 set in the last      13  1  checksum
//	1   10, 14  12, 28  4  characters in UTF-16
func (l *longName) add(b []byte) {
	number := b[0] & 0x3f
	if b[0]&0x40 != 0 {
		*l = longName{sum: b[13], next: number}
	}
	if number == 0 || number > 20 || number != l.next || b[13] != l.sum {
		*l = longName{}
		return
	}
	var part []uint16
	for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		part = append(part, binary.LittleEndian.Uint16(b[at:]))
	}
	l.units = append(part, l.units...)
	l.next--
}

// take returns the name if it is complete and belongs to the short one, and
// begins anew.
func (l *longName) take(short [11]byte) string {
	units, whole := l.units, l.next == 0 && l.units != nil && l.sum == checksum(short)
	*l = longName{}
	if !whole {
		return ""
	}
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}

// shortName returns a short name in the usual form. Bits 3 and 4 of byte 12 say
// that base and extension are in lower case (Windows NT's convention). Bytes
// outside of ASCII are in an unknown code page.
func shortName(b []byte) string {
	base, extension := strings.TrimRight(string(b[:8]), " "), strings.TrimRight(string(b[8:11]), " ")
	if strings.HasPrefix(base, "\x05") {
		base = "\xe5" + base[1:]
	}
	if b[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if b[12]&0x10 != 0 {
		extension = strings.ToLower(extension)
	}
	if extension != "" {
		base += "." + extension
	}
	return strings.ToValidUTF8(base, "\ufffd")
}
