package script

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/builder/fault"
)

const (
	// maxLine bounds a line of the log, in bytes; longer ones are cut.
	maxLine = 4096
	// leftoverWait is how long output is awaited after the script has ended.
	leftoverWait = 10 * time.Second
)

// errTimeout is why a script's own time limit cancels it.
var errTimeout = errors.New("the script's time limit has passed")

// run runs the script; fd3, unless nil, becomes its file descriptor 3. It ends
// when the script and all processes of its group have.
func (p Source) run(ctx context.Context, env []string, fd3 *os.File) error {
	limited, cancel := context.WithTimeoutCause(ctx, p.Timeout, errTimeout)
	defer cancel()
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("running %q: %w", p.Path, err)
	}
	defer out.Close()
	// No exec.CommandContext: it kills the script, but not the processes that
	// the script started.
	cmd := &exec.Cmd{
		Path: p.Path, Args: []string{p.Path}, Dir: p.Dir, Env: env,
		Stdout: in, Stderr: in,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if fd3 != nil {
		cmd.ExtraFiles = []*os.File{fd3}
	}
	if err := cmd.Start(); err != nil {
		in.Close()
		return p.startError(err)
	}
	in.Close()
	if fd3 != nil {
		fd3.Close() // or its reader would never see the end
	}
	last := make(chan string, 1)
	go func() { last <- p.log(out) }()
	waitErr := wait(limited, cmd)
	// As for file descriptor 3: what is in the pipe can be read at once.
	if err := out.SetReadDeadline(time.Now().Add(leftoverWait)); err != nil {
		return fmt.Errorf("running %q: %w", p.Path, err)
	}
	line := <-last
	// The script's own status says most, even when it was about to be killed.
	var exit *exec.ExitError
	exited := errors.As(waitErr, &exit) && exit.Exited()
	switch {
	case waitErr == nil && ctx.Err() == nil:
		return nil
	case exited && line != "":
		return fault.Buildf("running %q: %w; its last line: %.200s", p.Path, waitErr, line)
	case exited:
		return fault.Buildf("running %q: %w", p.Path, waitErr)
	case context.Cause(limited) != errTimeout && ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		return fault.Buildf("running %q: it took longer than %s and was killed", p.Path, p.Timeout).WithFix("raise root.script.timeout, or find out what it waits for")
	}
	return fault.Buildf("running %q: %w", p.Path, waitErr)
}

// wait waits for the script to end, or kills it when ctx ends, and then kills
// what is left of its process group. The script is reaped last, so that its
// number can't have become another group's.
func wait(ctx context.Context, cmd *exec.Cmd) error {
	pid := cmd.Process.Pid
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	killErr := unix.Kill(-pid, unix.SIGKILL)
	<-ended
	err := cmd.Wait()
	if err == nil && killErr != nil && !errors.Is(killErr, unix.ESRCH) && !errors.Is(killErr, unix.EPERM) {
		err = killErr
	}
	return err
}

// log hands on what the script prints and returns the last line that isn't
// empty.
func (p Source) log(r io.Reader) string {
	in := bufio.NewReaderSize(r, maxLine)
	last, cut := "", false
	for {
		line, err := in.ReadSlice('\n')
		if text := strings.TrimRight(strings.ToValidUTF8(string(line), "�"), "\r\n"); text != "" && !cut {
			last = text
			p.Log(text)
		}
		// ErrBufferFull: the line is longer than maxLine; its rest is dropped.
		cut = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !cut {
			return last
		}
	}
}

// startError explains why a script didn't start.
func (p Source) startError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return fault.Inputf("running %q: the system doesn't know its format", p.Path).
			WithFix("begin the script with #! and its interpreter, for example #!/bin/sh")
	case errors.Is(err, fs.ErrNotExist):
		return fault.Toolf("running %q: its interpreter is missing: %w", p.Path, err).
			WithFix("install what the script's first line names")
	}
	return fault.Inputf("running %q: %w", p.Path, err)
}
