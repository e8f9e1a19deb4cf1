package program

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
)

// shell returns a program that is a shell script.
func shell(t *testing.T, script string, log *[]string) Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return Program{
		Path: path, Args: []string{"a b", "c"}, Env: []string{"X=y", "PATH=/usr/bin:/bin"}, Timeout: time.Minute, TimeoutField: "field",
		Log: func(line string) { *log = append(*log, line) },
	}
}

func TestRun(t *testing.T) {
	var log []string
	if err := shell(t, "echo \"$1|$2|$X|$HOME\"; echo error >&2\n", &log).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(log, []string{"a b|c|y|", "error"}) {
		t.Errorf("the log is %q", log)
	}
	out := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	log = nil
	p := shell(t, "echo data; echo log >&2\n", &log)
	p.Stdout = f
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(out); string(data) != "data\n" || err != nil || !slices.Equal(log, []string{"log"}) {
		t.Errorf("output %q, log %q, %v", data, log, err)
	}
}

// What our own parent left open for us isn't handed on.
func TestFilesArentInherited(t *testing.T) {
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer in.Close()
	inherited, err := unix.FcntlInt(out.Fd(), unix.F_DUPFD, 50) // not closed on exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	var log []string
	if err := shell(t, "cd /proc/self/fd && echo *\n", &log).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(log) != 1 || slices.Contains(strings.Fields(log[0]), strconv.Itoa(inherited)) {
		t.Errorf("with %d open, the program has %q", inherited, log)
	}
}

// A program that has to end gets SIGTERM first, if it may clean up, and its own
// status then doesn't hide why.
func TestGrace(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "cleaned")
	script := "trap 'sleep 0.2; touch " + marker + "; exit 7' TERM\nsleep 60 &\nwait\n"
	for grace, cleaned := range map[time.Duration]bool{0: false, 10 * time.Second: true} {
		os.Remove(marker)
		var log []string
		p := shell(t, script, &log)
		p.Grace, p.Timeout = grace, 500*time.Millisecond
		err := p.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "took longer than 500ms and was killed; raise field") || fault.ClassOf(err) != fault.Build {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(marker); (err == nil) != cleaned {
			t.Errorf("with %s of grace: cleaned up %t", grace, err == nil)
		}
	}
	var log []string
	p := shell(t, "trap '' TERM\nsleep 60 & wait\nsleep 60\n", &log)
	p.Grace = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := p.Run(ctx); err == nil || time.Since(start) > 20*time.Second {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
}

// A program's own status says more than that its archive is cut off.
func TestTarTellsTheStatus(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{
		"echo why >&2\nsleep 0.3\nexit 9\n": "exit status 9; its last line: why",
		"printf x\nexec >&-\nsleep 60\n":    "standard output",
		"exit 0\n":                          "it wrote nothing to standard output",
	} {
		var log []string
		start := time.Now()
		_, err := Tar(t.Context(), s, 0, source.Limits{Entries: 10, Bytes: 1000}, "standard output", func(out *os.File) Program {
			p := shell(t, script, &log)
			p.Stdout = out
			return p
		})
		if err == nil || !strings.Contains(err.Error(), want) || time.Since(start) > 20*time.Second {
			t.Errorf("%q: got %v after %s", script, err, time.Since(start))
		}
	}
}
