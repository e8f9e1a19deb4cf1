// Package section reads and replaces a part of a text file that stands between
// two marks, such as a table that is made from measurements.
package section

import (
	"fmt"
	"os"
	"strings"
)

// Section is what stands in File between the first Begin and the End after it.
type Section struct{ File, Begin, End string }

// Read returns the section without its marks.
func (s Section) Read() (string, error) {
	_, text, _, err := s.cut()
	return text, err
}

// Replace writes another text between the marks.
func (s Section) Replace(text string) error {
	before, _, after, err := s.cut()
	if err != nil {
		return err
	}
	return os.WriteFile(s.File, []byte(before+s.Begin+text+s.End+after), 0o644)
}

func (s Section) cut() (before, text, after string, err error) {
	data, err := os.ReadFile(s.File)
	if err != nil {
		return "", "", "", err
	}
	before, rest, ok := strings.Cut(string(data), s.Begin)
	text, after, ok2 := strings.Cut(rest, s.End)
	if !ok || !ok2 {
		return "", "", "", fmt.Errorf("reading %q: it has no section from %q to %q", s.File, s.Begin, s.End)
	}
	return before, text, after, nil
}
