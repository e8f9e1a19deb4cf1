package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/powernode/bootsmith/builder"
)

// clearLine returns to the line's start and erases it (ECMA-48: CR, EL).
const clearLine = "\r\x1b[K"

// live is a reporter for terminals: finished stages scroll by, and what is said
// beside them, and the last line shows what is running now.
type live struct {
	w     io.Writer
	width func() int

	mu      sync.Mutex
	running []string
	detail  map[string]string
	done    int
}

func newLive(w io.Writer, width func() int) *live {
	return &live{w: w, width: width, detail: map[string]string{}}
}

// report takes an event.
func (l *live) report(e builder.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprint(l.w, clearLine)
	switch e.State {
	case builder.Started:
		l.running = append(l.running, e.Stage)
	case builder.Progress:
		if slices.Contains(l.running, e.Stage) {
			l.detail[e.Stage] = e.Detail
		} else { // it is no state that passes, but news
			fmt.Fprintln(l.w, eventLine(e))
		}
	case builder.Cached:
		l.done++
		fmt.Fprintln(l.w, eventLine(e))
	case builder.Finished, builder.Failed:
		l.running = slices.DeleteFunc(l.running, func(s string) bool { return s == e.Stage })
		l.done++
		fmt.Fprintln(l.w, eventLine(e))
	}
	if len(l.running) > 0 {
		fmt.Fprint(l.w, l.status())
	}
}

// status names the running stages, cut to the terminal's width.
func (l *live) status() string {
	var parts []string
	for _, s := range l.running {
		if d := l.detail[s]; d != "" {
			s += " " + d
		}
		parts = append(parts, s)
	}
	line := fmt.Sprintf("%d done, running: %s", l.done, strings.Join(parts, ", "))
	return line[:min(len(line), max(l.width()-1, 0))]
}
