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

// Open returns where messages go: to the active consoles (see Names) that have a
// device; without any, to the one behind /dev/console; without that, to the
// kernel's log, which reaches consoles that are no terminals, such as netconsole
// and the early ones. open opens a device by its name below /dev.
func Open(active string, open func(device string) (io.Writer, error)) []io.Writer {
	var out []io.Writer
	for _, name := range Names(active) {
		if w, err := open(name); err == nil {
			out = append(out, w)
		}
	}
	if len(out) > 0 {
		return out
	}
	if w, err := open("console"); err == nil {
		return []io.Writer{w}
	}
	if w, err := open("kmsg"); err == nil {
		return []io.Writer{kernelLog{w}}
	}
	return nil
}

// kernelLog writes records to /dev/kmsg (Documentation/ABI/testing/dev-kmsg), as
// errors: lesser ones don't reach consoles with the parameter "quiet".
type kernelLog struct{ w io.Writer }

func (k kernelLog) Write(p []byte) (int, error) {
	const level = "<3>"
	n, err := k.w.Write(append([]byte(level), p...))
	return max(0, n-len(level)), err
}
