package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/fault"
)

// printError writes the one line that a failed command ends with; before it, one
// for each cause of a lock's drift.
func printError(env Env, err error) {
	var drift *builder.Drift
	if errors.As(err, &drift) {
		for _, cause := range drift.Causes {
			printErrorLine(env, cause)
		}
		err = fault.Inputf("%s doesn't fit any more", drift.Path).WithFix("run bootsmith lock")
	}
	printErrorLine(env, err.Error())
}

// printErrorLine writes a line; in a workflow it is an annotation as well.
func printErrorLine(env Env, text string) {
	line := oneLine(text)
	fmt.Fprintf(env.Stderr, "bootsmith: %s\n", line)
	if env.Getenv("GITHUB_ACTIONS") == "true" || env.Getenv("GITEA_ACTIONS") == "true" {
		fmt.Fprintf(env.Stderr, "::error::%s\n", strings.ReplaceAll(line, "%", "%25"))
	}
}

// oneLine joins the lines of a text, such as those of joined errors.
func oneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

func registerLogFormat(f *pflag.FlagSet, format *string) {
	f.StringVar(format, "log-format", "text", "progress on stderr: text or json")
}

func checkLogFormat(format string) error {
	if format != "text" && format != "json" {
		return fault.Inputf("reading --log-format %q: unknown", format).WithFix("use text or json")
	}
	return nil
}

// newReporter returns a reporter to stderr: JSON lines, or text, which on a
// terminal ends with a line that shows what is running.
func newReporter(env Env, format string) builder.Reporter {
	w := env.Stderr
	if format == "text" && env.Width != nil {
		return newLive(w, env.Width).report
	}
	var mu sync.Mutex
	return func(e builder.Event) {
		mu.Lock()
		defer mu.Unlock()
		if format == "json" {
			if b, err := json.Marshal(e); err == nil {
				fmt.Fprintf(w, "%s\n", b)
			}
			return
		}
		if line := eventLine(e); line != "" {
			fmt.Fprintln(w, line)
		}
	}
}

// eventLine returns the one line of an event, "" for none.
func eventLine(e builder.Event) string {
	e.Detail = oneLine(e.Detail)
	switch e.State {
	case builder.Finished:
		return fmt.Sprintf("%-28s %7.2fs  %s", e.Stage, e.Elapsed.Round(10*time.Millisecond).Seconds(), e.Detail)
	case builder.Cached:
		return fmt.Sprintf("%-28s %7.2fs  %s", e.Stage, e.Elapsed.Round(10*time.Millisecond).Seconds(), strings.TrimSpace("cached "+e.Detail))
	case builder.Progress:
		return fmt.Sprintf("%-28s           %s", e.Stage, e.Detail)
	case builder.Failed:
		return fmt.Sprintf("%-28s  failed", e.Stage)
	}
	return ""
}
