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

// noSpace is how programs say ENOSPC.
const noSpace = "No space left on device"

// causes are how such lines begin, the most telling first; where the disk is
// full, that is the cause.
var causes = []string{noSpace, "dpkg: error processing ", "dpkg: error", "E: "}

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
	if strings.Contains(text, noSpace) {
		return 0
	}
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
	if rank(l.cause) == 0 {
		return fault.Buildf("bootstrapping the root: %.300s", strings.TrimSpace(l.cause)).
			WithFix("free disk space in the folder for temporary files, or set TMPDIR to another")
	}
	return fault.Buildf("bootstrapping the root: %.300s (%w)", l.cause, err)
}
