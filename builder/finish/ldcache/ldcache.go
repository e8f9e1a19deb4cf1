// Package ldcache writes the cache in which glibc's dynamic linker looks shared
// libraries up: /etc/ld.so.cache in the format of glibc 2.32 and later
// ("glibc-ld.so.cache1.1", sysdeps/generic/dl-cache.h).
package ldcache

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// LibC6 is FLAG_ELF_LIBC6: the kind of a library that is linked with glibc.
const LibC6 int32 = 0x0003

// Entry is a library.
type Entry struct {
	// Flags are LibC6 and what stands for the architecture's ABI
	// (sysdeps/generic/ldconfig.h).
	Flags int32
	// Name is the SONAME, Path where the library is.
	Name, Path string
}

const (
	magic      = "glibc-ld.so.cache1.1"
	headerSize = 48
	entrySize  = 24
	// littleEndian is cache_file_new_flags_endian_little.
	littleEndian = 2
)

// Write writes a cache. All fields are little-endian:
//
//	0   20 bytes magic and version
//	20  u32 number of entries, u32 size of the strings in bytes
//	28  u8 flags: byte order; 3 bytes zero
//	32  u32 offset of extensions, 0: none; 12 bytes zero
//	48  entries of 24 bytes: i32 flags, u32 offset of the name, u32 offset of
//	    the path, u32 zero, u64 hardware capabilities
//	    strings, each ended by NUL
//
// Offsets count from the start of the file. The linker searches by halves, with
// the greatest name first.
func Write(w io.Writer, entries []Entry) error {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b Entry) int {
		if c := Compare(b.Name, a.Name); c != 0 {
			return c
		}
		return int(b.Flags) - int(a.Flags)
	})
	table := make([]byte, 0, headerSize+entrySize*len(sorted))
	var text strings.Builder
	first := headerSize + entrySize*len(sorted)
	add := func(s string) uint32 {
		at := first + text.Len()
		text.WriteString(s)
		text.WriteByte(0)
		return uint32(at)
	}
	for _, e := range sorted {
		if strings.ContainsRune(e.Path, 0) || !strings.HasSuffix(e.Path, "/"+e.Name) || e.Name == "" {
			return fmt.Errorf("writing the library cache: %q is not a path of %q", e.Path, e.Name)
		}
		at := add(e.Path)
		table = binary.LittleEndian.AppendUint32(table, uint32(e.Flags))
		table = binary.LittleEndian.AppendUint32(table, at+uint32(len(e.Path)-len(e.Name)))
		table = binary.LittleEndian.AppendUint32(table, at)
		table = append(table, make([]byte, 12)...)
	}
	if text.Len() > math.MaxInt32-first {
		return fmt.Errorf("writing the library cache: %d libraries are too many", len(entries))
	}
	header := []byte(magic)
	header = binary.LittleEndian.AppendUint32(header, uint32(len(sorted)))
	header = binary.LittleEndian.AppendUint32(header, uint32(text.Len()))
	header = append(header, littleEndian, 0, 0, 0)
	header = append(header, make([]byte, 16)...)
	for _, part := range [][]byte{header, table, []byte(text.String())} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("writing the library cache: %w", err)
		}
	}
	return nil
}

// Compare orders names as the dynamic linker does (_dl_cache_libcmp): runs of
// digits by their value, a digit after any other character, the rest by bytes.
func Compare(a, b string) int {
	for a != "" && b != "" {
		switch {
		case digit(a[0]) && digit(b[0]):
			var x, y uint32
			x, a = number(a)
			y, b = number(b)
			if x != y {
				return order(x < y)
			}
		case digit(a[0]):
			return 1
		case digit(b[0]):
			return -1
		case a[0] != b[0]:
			return order(a[0] < b[0])
		default:
			a, b = a[1:], b[1:]
		}
	}
	return len(a) - len(b)
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// number cuts off a run of digits; it overflows as the linker's int does.
func number(s string) (uint32, string) {
	var n uint32
	for s != "" && digit(s[0]) {
		n = n*10 + uint32(s[0]-'0')
		s = s[1:]
	}
	return n, s
}
