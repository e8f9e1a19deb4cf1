package fat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// checkName tells whether a path component may be a long name.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("the path component %q is not a name", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("the name %q is not UTF-8", name)
	case len(utf16.Encode([]rune(name))) > 255:
		return fmt.Errorf("the name %q has more than 255 UTF-16 code units", name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || strings.HasPrefix(name, " "):
		return fmt.Errorf("the name %q begins or ends with a space or ends with a dot, which FAT drops", name)
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("the name %q has the character %q, which FAT does not allow", name, r)
		}
	}
	return nil
}

// fold maps names that FAT takes for equal to the same string.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}

func isShortChar(r rune) bool {
	return r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r < 0x80 && strings.ContainsRune("$%'-_@~`!(){}^#&", r)
}

// isShort tells whether the short name says all, so that no long one is needed.
func (n *node) isShort() bool {
	base := strings.TrimRight(string(n.short[:8]), " ")
	ext := strings.TrimRight(string(n.short[8:]), " ")
	if ext != "" {
		base += "." + ext
	}
	return base == n.name
}

// basis derives the two parts of a short name from a long one (fatgen103, "The
// Basis-Name Generation Algorithm"). It is lossy when more than case was lost.
func basis(name string) (base, ext string, lossy bool) {
	stripped := strings.TrimLeft(strings.ReplaceAll(name, " ", ""), ".")
	lossy = stripped != name
	base = stripped
	if dot := strings.LastIndexByte(stripped, '.'); dot >= 0 {
		base, ext = stripped[:dot], stripped[dot+1:]
	}
	convert := func(part string, limit int) string {
		var out []byte
		for _, r := range part {
			if r >= 'a' && r <= 'z' {
				r -= 'a' - 'A'
			}
			switch {
			case r == '.':
				lossy = true
				continue
			case !isShortChar(r):
				lossy = true
				r = '_'
			}
			if len(out) == limit {
				lossy = true
				break
			}
			out = append(out, byte(r))
		}
		return string(out)
	}
	return convert(base, 8), convert(ext, 3), lossy
}

func encodeShort(base, ext string) [11]byte {
	out := [11]byte([]byte("           "))
	copy(out[:8], base)
	copy(out[8:], ext)
	return out
}

// assignShortNames gives the children short names that are unique in the
// directory. Names that are short names but for case keep them; the others get
// a numeric tail, in the order of the names.
func (n *node) assignShortNames() error {
	if len(n.children) > maxEntries {
		return fmt.Errorf("adding directory %q: it has more than %d entries", n.name, maxEntries)
	}
	names := shortNames{taken: map[[11]byte]bool{}, next: map[tailKey]int{}}
	for _, c := range n.children {
		if base, ext, lossy := basis(c.name); !lossy {
			c.short = encodeShort(base, ext)
			names.taken[c.short] = true
		}
	}
	for _, c := range n.children {
		if base, ext, lossy := basis(c.name); lossy {
			short, err := names.withTail(base, ext)
			if err != nil {
				return fmt.Errorf("adding %q to directory %q: %w", c.name, n.name, err)
			}
			c.short = short
		}
	}
	if n.entries() > maxEntries {
		return fmt.Errorf("adding directory %q: it has more than %d entries", n.name, maxEntries)
	}
	return nil
}

// shortNames hands out short names with numeric tails. It remembers where to go
// on for each stem, so that thousands of similar names take linear time.
type shortNames struct {
	taken map[[11]byte]bool
	next  map[tailKey]int
}

// tailKey is a short name without the number: all names with it compete for the
// same numbers of that many digits.
type tailKey struct {
	stem, ext string
	digits    int
}

func (s shortNames) withTail(base, ext string) ([11]byte, error) {
	limit := 10
	for digits := 1; digits <= 6; digits++ {
		stem := base[:min(len(base), 8-1-digits)]
		key := tailKey{stem, ext, digits}
		for number := max(s.next[key], limit/10); number < limit; number++ {
			s.next[key] = number + 1
			short := encodeShort(stem+"~"+strconv.Itoa(number), ext)
			if !s.taken[short] {
				s.taken[short] = true
				return short, nil
			}
		}
		limit *= 10
	}
	return [11]byte{}, errors.New("no short name is left")
}
