// Package console writes init's messages to every kernel console.
package console

import (
	"fmt"
	"io"
	"strings"
)

// Prefix begins every line.
const Prefix = "bootsmith-init: "

// Console writes lines. Errors are ignored: there is nowhere to tell them.
type Console struct {
	out   []io.Writer
	debug bool
}

// New returns a Console that writes to all of out.
func New(out ...io.Writer) *Console { return &Console{out: out} }

// Redirect makes the Console write to all of out, unless there are none.
func (c *Console) Redirect(out ...io.Writer) {
	if len(out) > 0 {
		c.out = out
	}
}

// SetDebug switches the lines of Debugf on or off.
func (c *Console) SetDebug(on bool) { c.debug = on }

// Printf writes one line. Control characters, which may come from a disk or the
// command line, are replaced.
func (c *Console) Printf(format string, args ...any) {
	line := []byte(Prefix + strings.Map(printable, fmt.Sprintf(format, args...)) + "\n")
	for _, w := range c.out {
		w.Write(line)
	}
}

// Debugf writes a line if debugging is on.
func (c *Console) Debugf(format string, args ...any) {
	if c.debug {
		c.Printf(format, args...)
	}
}

func printable(r rune) rune {
	switch {
	case r == '\n' || r == '\t':
		return ' '
	case r < ' ' || r >= 0x7f && r < 0xa0:
		return '?'
	}
	return r
}

// Names returns the device names of the active consoles from the contents of
// /sys/class/tty/console/active (Documentation/ABI/testing/sysfs-tty), such as
// "tty0 ttyS0\n". Names that could leave /dev are left out.
func Names(active string) []string {
	var names []string
	for _, name := range strings.Fields(active) {
		if !strings.ContainsAny(name, "/\x00") && name != "." && name != ".." {
			names = append(names, name)
		}
	}
	return names
}
