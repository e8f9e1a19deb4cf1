// Package catalog compiles the journal's message catalog: the text files of
// /usr/lib/systemd/catalog become the database in which journalctl looks
// explanations up, as `journalctl --update-catalog` writes it (systemd,
// src/libsystemd/sd-journal/catalog.c).
package catalog

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
)

// File is a text file of the catalog. A language in its name, as in
// "systemd.de.catalog", is that of entries that name none.
type File struct{ Name, Text string }

// entryKey names an entry: a message ID and a language, "" for English.
type entryKey struct {
	id       [16]byte
	language [32]byte
}

func (k entryKey) compare(o entryKey) int {
	return cmp.Or(slices.Compare(k.id[:], o.id[:]), slices.Compare(k.language[:], o.language[:]))
}

// Compile returns the database made of files. An entry that several files have
// is joined, the later text first: its headers win.
func Compile(files []File) ([]byte, error) {
	entries := map[entryKey]string{}
	for _, f := range files {
		if err := readFile(f, entries); err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Name, err)
		}
	}
	return encode(entries), nil
}

// readFile reads entries: a line "-- <message ID> [language]", then text. A
// line that begins with "#" or ";" is a comment.
func readFile(f File, entries map[entryKey]string) error {
	var key entryKey
	var text strings.Builder
	started, empty := false, true
	finish := func() error {
		if !started {
			return nil
		}
		if text.Len() == 0 {
			return fmt.Errorf("entry %x is empty", key.id)
		}
		entries[key] = text.String() + entries[key]
		text.Reset()
		return nil
	}
	for line := range strings.SplitSeq(f.Text, "\n") {
		if line == "" {
			empty = true
			continue
		}
		if line[0] == '#' || line[0] == ';' {
			continue
		}
		if next, ok := parseHead(line, languageOf(f.Name)); ok && empty {
			if err := finish(); err != nil {
				return err
			}
			key, started, empty = next, true, false
			continue
		}
		if !started {
			return fmt.Errorf("text %q belongs to no entry", line)
		}
		if empty && text.Len() > 0 {
			text.WriteByte('\n')
		}
		empty = false
		text.WriteString(line + "\n")
	}
	return finish()
}

// parseHead parses the line that begins an entry.
func parseHead(line, language string) (entryKey, bool) {
	rest, ok := strings.CutPrefix(line, "-- ")
	if !ok || len(rest) < 32 || len(rest) > 32 && rest[32] != ' ' {
		return entryKey{}, false
	}
	id, err := hex.DecodeString(rest[:32])
	if err != nil {
		return entryKey{}, false
	}
	if own := strings.TrimSpace(rest[32:]); own != "" {
		language = own
	}
	k := entryKey{id: [16]byte(id)}
	if len(language) >= len(k.language) {
		return entryKey{}, false
	}
	copy(k.language[:], language)
	return k, true
}

// languageOf returns the language in a file's name.
func languageOf(name string) string {
	stem := strings.TrimSuffix(path.Base(name), ".catalog")
	if i := strings.LastIndexByte(stem, '.'); i >= 0 {
		return stem[i+1:]
	}
	return ""
}

// Sizes of the format's records in bytes.
const (
	headerSize = 40
	itemSize   = 56
)

// encode returns the database; all numbers are little-endian.
//
//	header: "RHHHKSLP", u32 and u32 zero flags, u64 header's size, u64 number
//	of items, u64 item's size
//	item: 16 bytes message ID, 32 bytes language, u64 offset of the text behind
//	the items; sorted by ID and language
//	texts, each ended by NUL
func encode(entries map[entryKey]string) []byte {
	keys := make([]entryKey, 0, len(entries))
	for k := range entries {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, entryKey.compare)
	out := append([]byte("RHHHKSLP"), make([]byte, 8)...)
	for _, n := range []int{headerSize, len(keys), itemSize} {
		out = binary.LittleEndian.AppendUint64(out, uint64(n))
	}
	texts := []byte{0}
	for _, k := range keys {
		out = append(append(out, k.id[:]...), k.language[:]...)
		out = binary.LittleEndian.AppendUint64(out, uint64(len(texts)))
		texts = append(append(texts, entries[k]...), 0)
	}
	return append(out, texts...)
}
