package bootstrap

import (
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
)

// failureLog remembers the line that says why mmdebstrap failed; its last line
// doesn't.
type failureLog struct {
	next  func(line string)
	cause string
}

// causes are how such lines begin, the most telling first.
var causes = []string{"dpkg: error processing ", "dpkg: error", "E: "}

func (l *failureLog) line(text string) {
	l.next(text)
	if text == "E: mmdebstrap failed to run" || strings.HasPrefix(text, "E: run_chroot failed") {
		return
	}
	if rank(text) < len(causes) && (l.cause == "" || rank(text) < rank(l.cause)) {
		l.cause = text
	}
}

func rank(text string) int {
	for i, c := range causes {
		if strings.HasPrefix(text, c) {
			return i
		}
	}
	return len(causes)
}

// explain adds the cause to the error of a failed build.
func (l *failureLog) explain(err error) error {
	if err == nil || l.cause == "" || fault.ClassOf(err) != fault.Build {
		return err
	}
	return fault.Buildf("bootstrapping the root: %.300s (%w)", l.cause, err)
}
