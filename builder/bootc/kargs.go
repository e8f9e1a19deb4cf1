package bootc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// kargsDir holds kernel arguments in TOML files.
const kargsDir = "usr/lib/bootc/kargs.d"

func checkKargs(img Image) (problems []string, err error) {
	err = img.eachFile(kargsDir, ".toml", func(name string, data []byte) error {
		if _, err := parseKargs(string(data)); err != nil {
			problems = append(problems, fmt.Sprintf("/%s/%s: %v", kargsDir, name, err))
		}
		return nil
	})
	return problems, err
}

// kargs is a file of kernel arguments.
type kargs struct {
	Kargs []string
	// MatchArchitectures are the kernel's names of those that the file is for;
	// nil means all.
	MatchArchitectures []string
}

// parseKargs reads the part of TOML 1.0 that such a file can have, for it may
// only have two keys, whose values are arrays of strings.
func parseKargs(text string) (k kargs, err error) {
	if !utf8.ValidString(text) {
		return k, errors.New("it is not UTF-8")
	}
	p := &tomlParser{rest: text}
	seen := map[string]bool{}
	for {
		p.skip("\n\r")
		if p.rest == "" {
			break
		}
		key, err := p.key()
		if err != nil {
			return k, err
		}
		if key != "kargs" && key != "match-architectures" {
			return k, fmt.Errorf("unknown field %q", key)
		}
		if seen[key] {
			return k, fmt.Errorf("the field %q is there twice", key)
		}
		seen[key] = true
		list, err := p.array()
		if err != nil {
			return k, fmt.Errorf("reading the field %q: %w", key, err)
		}
		if key == "kargs" {
			k.Kargs = list
		} else {
			k.MatchArchitectures = list
		}
		if p.skip(""); p.rest != "" && p.rest[0] != '\n' && !strings.HasPrefix(p.rest, "\r\n") {
			return k, fmt.Errorf("reading the field %q: text follows it in its line", key)
		}
	}
	if !seen["kargs"] {
		return k, errors.New(`the field "kargs" is missing`)
	}
	return k, nil
}

// tomlParser holds what is left to be read.
type tomlParser struct{ rest string }

// skip drops spaces, comments and the characters in more.
func (p *tomlParser) skip(more string) {
	for {
		p.rest = strings.TrimLeft(p.rest, " \t"+more)
		if !strings.HasPrefix(p.rest, "#") {
			return
		}
		end := strings.IndexByte(p.rest, '\n')
		if end < 0 {
			end = len(p.rest)
		}
		p.rest = p.rest[end:]
	}
}

// key reads a key and the equals sign.
func (p *tomlParser) key() (key string, err error) {
	if p.rest[0] == '"' || p.rest[0] == '\'' {
		if key, err = p.text(); err != nil {
			return "", err
		}
	} else {
		end := strings.IndexFunc(p.rest, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
		})
		if end <= 0 {
			return "", fmt.Errorf("a field is expected at %q", head(p.rest))
		}
		key, p.rest = p.rest[:end], p.rest[end:]
	}
	p.skip("")
	if !strings.HasPrefix(p.rest, "=") {
		return "", fmt.Errorf("%q is not followed by a value", key)
	}
	p.rest = p.rest[1:]
	p.skip("")
	return key, nil
}

// array reads an array of strings, which may take several lines.
func (p *tomlParser) array() ([]string, error) {
	if !strings.HasPrefix(p.rest, "[") {
		return nil, fmt.Errorf("an array is expected at %q", head(p.rest))
	}
	p.rest = p.rest[1:]
	list := []string{}
	for {
		if p.skip("\r\n"); strings.HasPrefix(p.rest, "]") {
			p.rest = p.rest[1:]
			return list, nil
		}
		s, err := p.text()
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		p.skip("\r\n")
		if strings.HasPrefix(p.rest, ",") {
			p.rest = p.rest[1:]
		} else if !strings.HasPrefix(p.rest, "]") {
			return nil, fmt.Errorf("a comma or the array's end is expected at %q", head(p.rest))
		}
	}
}

// text reads a string of one line (TOML 1.0, "String").
func (p *tomlParser) text() (string, error) {
	if p.rest == "" || p.rest[0] != '"' && p.rest[0] != '\'' {
		return "", fmt.Errorf("a string is expected at %q", head(p.rest))
	}
	quote := p.rest[:1]
	if strings.HasPrefix(p.rest, quote+quote+quote) {
		return "", errors.New("strings of several lines are not known")
	}
	var b strings.Builder
	for p.rest = p.rest[1:]; p.rest != "" && p.rest[0] != '\n'; {
		switch c := p.rest[0]; {
		case p.rest[:1] == quote:
			p.rest = p.rest[1:]
			return b.String(), nil
		case c == '\\' && quote == `"`:
			if err := p.escape(&b); err != nil {
				return "", err
			}
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", fmt.Errorf("the control character %#x in a string", c)
		default:
			b.WriteByte(c)
			p.rest = p.rest[1:]
		}
	}
	return "", errors.New("a string does not end in its line")
}

// escape reads an escape sequence.
func (p *tomlParser) escape(b *strings.Builder) error {
	if len(p.rest) < 2 {
		return errors.New("a string ends with a backslash")
	}
	c := p.rest[1]
	if i := strings.IndexByte(`btnfr"\`, c); i >= 0 {
		b.WriteByte("\b\t\n\f\r\"\\"[i])
		p.rest = p.rest[2:]
		return nil
	}
	digits := map[byte]int{'u': 4, 'U': 8}[c]
	if digits == 0 || len(p.rest) < 2+digits {
		return fmt.Errorf("the escape sequence at %q is not known", head(p.rest))
	}
	r, err := strconv.ParseUint(p.rest[2:2+digits], 16, 32)
	if err != nil || !utf8.ValidRune(rune(r)) {
		return fmt.Errorf("the escape sequence at %q names no character", head(p.rest))
	}
	b.WriteRune(rune(r))
	p.rest = p.rest[2+digits:]
	return nil
}

// head returns the beginning of a text for a message.
func head(s string) string {
	for i := range s {
		if i >= 20 {
			return s[:i] + "…"
		}
	}
	return s
}
