// Package control reads what Debian archives and packages say of themselves:
// control stanzas, package versions and relationships between packages.
package control

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxLine is the longest line, in bytes, that a Scanner accepts. The longest
// in today's indices is a Provides field of about 20 kB.
const MaxLine = 1 << 20

// Scanner reads stanzas (deb822(5)) line by line: small memory for any size of
// input.
//
//	for s.Stanza() {
//		for s.Field() {
//			use(s.Name(), s.Value())
//		}
//	}
//	return s.Err()
type Scanner struct {
	r     *bufio.Reader
	line  []byte // the line after the current one, valid until the next read
	have  bool   // line holds one
	eof   bool
	name  []byte
	value []byte
	open  bool // the current stanza may have more fields
	err   error
	count int
}

// NewScanner returns a scanner of r.
func NewScanner(r io.Reader) *Scanner {
	return &Scanner{r: bufio.NewReaderSize(r, MaxLine)}
}

// Stanza moves to the next stanza, over what is left of the current one.
func (s *Scanner) Stanza() bool {
	for s.open && s.Field() {
	}
	for s.peek() {
		if !blank(s.line) && s.line[0] != '#' {
			s.open = true
			return true
		}
		s.have = false
	}
	return false
}

// Field moves to the next field of the stanza.
func (s *Scanner) Field() bool {
	for s.open && s.peek() {
		if s.line[0] == '#' { // a comment, as sources files have them
			s.have = false
			continue
		}
		if blank(s.line) {
			s.open, s.have = false, false
			return false
		}
		return s.field()
	}
	s.open = false
	return false
}

// field reads the field that the current line starts, with its continuation
// lines.
func (s *Scanner) field() bool {
	i := bytes.IndexByte(s.line, ':')
	if i <= 0 || s.line[0] == ' ' || s.line[0] == '\t' {
		s.err = fmt.Errorf("line %d: %.60q is not a field", s.count, s.line)
		return false
	}
	s.name = append(s.name[:0], s.line[:i]...)
	s.value = append(s.value[:0], bytes.TrimSpace(s.line[i+1:])...)
	s.have = false
	for s.peek() && (s.line[0] == ' ' || s.line[0] == '\t') && !blank(s.line) {
		if len(s.value)+len(s.line) > 64*MaxLine {
			s.err = fmt.Errorf("line %d: field %q is too long", s.count, s.name)
			return false
		}
		s.value = append(s.value, '\n')
		s.value = append(s.value, bytes.TrimRight(s.line, " \t\r\n")...)
		s.have = false
	}
	return s.err == nil
}

// Name returns the current field's name, as written. The slice is valid until
// the next call of Field or Stanza.
func (s *Scanner) Name() []byte { return s.name }

// Value returns the current field's value without the white space around it;
// continuation lines follow after "\n", with their indentation. The slice is
// valid until the next call of Field or Stanza.
func (s *Scanner) Value() []byte { return s.value }

// Err returns the first error, nil at the end of the input.
func (s *Scanner) Err() error { return s.err }

// peek makes sure that s.line holds the next line, which is never empty.
func (s *Scanner) peek() bool {
	if s.err != nil {
		return false
	}
	if s.have {
		return true
	}
	if s.eof {
		return false
	}
	line, err := s.r.ReadSlice('\n')
	s.count++
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		s.err = fmt.Errorf("line %d: longer than %d bytes", s.count, MaxLine)
		return false
	case err == io.EOF:
		s.eof = true
		if len(line) == 0 {
			return false
		}
	case err != nil:
		s.err = err
		return false
	}
	s.line, s.have = line, true
	return true
}

func blank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }

// Field is one field of a stanza.
type Field struct{ Name, Value string }

// Stanza holds the fields of a stanza in their order.
type Stanza []Field

// Get returns a field's value, "" when there is none. Names are compared
// without regard to case.
func (s Stanza) Get(name string) string {
	for _, f := range s {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// ReadStanzas reads all stanzas of r; use it for small files.
func ReadStanzas(r io.Reader) ([]Stanza, error) {
	var all []Stanza
	s := NewScanner(r)
	for s.Stanza() {
		var st Stanza
		for s.Field() {
			st = append(st, Field{string(s.Name()), string(s.Value())})
		}
		all = append(all, st)
	}
	return all, s.Err()
}
