package iso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxVolumeID = 32
	// maxFileID is the longest file name with its extension (ECMA-119, 7.5.1),
	// maxDirID the longest directory name (7.6.3), both in characters.
	maxFileID = 30
	maxDirID  = 31
	// maxExtension leaves most of a file name to the name.
	maxExtension = 8
	// maxJoliet is the longest name in Joliet (Joliet Specification, "Allowed
	// Identifier Lengths"), in UCS-2 characters.
	maxJoliet = 64
)

// VolumeID makes a volume identifier of a name: up to 32 d-characters
// (ECMA-119, 7.4.1).
func VolumeID(name string) string {
	id := dCharacters(name)
	return id[:min(len(id), maxVolumeID)]
}

func isVolumeID(s string) bool { return s != "" && len(s) <= maxVolumeID && dCharacters(s) == s }

// dCharacters replaces what is not a d-character.
func dCharacters(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return '_'
	}, s)
}

// shortNames gives the entries of a directory identifiers of interchange level
// 3: "NAME.EXT;1" for files, "NAME" for directories.
func shortNames(dir *node) map[*node][]byte {
	return uniqueNames(dir.children, func(n *node, suffix string) []byte {
		if n.isDir() {
			return []byte(cut(dCharacters(n.name), maxDirID-len(suffix)) + suffix)
		}
		base, extension := splitName(n.name)
		base, extension = dCharacters(base), cut(dCharacters(extension), maxExtension)
		return []byte(cut(base, maxFileID-len(extension)-len(suffix)) + suffix + "." + extension + ";1")
	})
}

// jolietNames gives the entries of a directory identifiers in UCS-2. Characters
// that Joliet does not have become "_", and so does a dot at the end, which
// readers drop.
func jolietNames(dir *node) map[*node][]byte {
	var visible []*node
	for _, c := range dir.children {
		if c.isDir() || c.entry.Mode.IsRegular() {
			visible = append(visible, c)
		}
	}
	return uniqueNames(visible, func(n *node, suffix string) []byte {
		name := jolietCharacters(n.name)
		if len(name)+len(suffix) > maxJoliet {
			name = name[:maxJoliet-len(suffix)]
		}
		name = append(name, utf16.Encode([]rune(suffix))...)
		if !n.isDir() {
			name = append(name, ';', '1')
		}
		return bigEndian(name)
	})
}

func jolietCharacters(name string) []uint16 {
	var out []uint16
	if base, dot := strings.CutSuffix(name, "."); dot {
		name = base + "_"
	}
	for len(name) > 0 {
		r, size := utf8.DecodeRuneInString(name)
		if r < ' ' || r > 0xffff || r == utf8.RuneError || strings.ContainsRune(`*/:;?\`, r) {
			r = '_'
		}
		out = append(out, uint16(r))
		name = name[size:]
	}
	return out
}

// uniqueNames asks for each node's identifier, and while that is taken for one
// with a suffix.
func uniqueNames(nodes []*node, identifier func(n *node, suffix string) []byte) map[*node][]byte {
	ids := map[*node][]byte{}
	taken := map[string]bool{}
	tries := map[string]int{}
	for _, n := range nodes {
		plain := identifier(n, "")
		id := plain
		for taken[string(id)] {
			tries[string(plain)]++
			id = identifier(n, fmt.Sprintf("_%d", tries[string(plain)]))
		}
		taken[string(id)] = true
		ids[n] = id
	}
	return ids
}

// splitName splits a name at its last dot, unless that is its first character.
func splitName(name string) (base, extension string) {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

func bigEndian(s []uint16) []byte {
	var b []byte
	for _, c := range s {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	return b
}

// compareShort orders identifiers as if names and extensions were filled up
// with spaces (ECMA-119, 9.3).
func compareShort(a, b []byte) int {
	version := []byte(";1")
	aName, aExtension, _ := bytes.Cut(bytes.TrimSuffix(a, version), []byte{'.'})
	bName, bExtension, _ := bytes.Cut(bytes.TrimSuffix(b, version), []byte{'.'})
	if c := bytes.Compare(aName, bName); c != 0 {
		return c
	}
	return bytes.Compare(aExtension, bExtension)
}

// compareJoliet orders identifiers without their versions.
func compareJoliet(a, b []byte) int {
	version := []byte{0, ';', 0, '1'}
	return bytes.Compare(bytes.TrimSuffix(a, version), bytes.TrimSuffix(b, version))
}
