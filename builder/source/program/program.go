// Package program runs programs of the build host that make a root: without a
// shell, with the environment that it is given and no other, with a time limit,
// and with all that they print as the build's log.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/builder/fault"
)

// leftoverWait is how long output is awaited after a program has ended.
const leftoverWait = 10 * time.Second

// errTimeout is why a program's own time limit cancels it.
var errTimeout = errors.New("the program's time limit has passed")

// Program is a program to run.
type Program struct {
	// Path is the program's file, Args are its arguments without its name.
	Path string
	Args []string
	Dir  string
	Env  []string
	// Stdout takes standard output; nil means that it is part of the log.
	Stdout *os.File
	// Files become file descriptors 3 and up.
	Files []*os.File
	// Timeout is how long it may take, TimeoutField the definition's field that
	// says so.
	Timeout      time.Duration
	TimeoutField string
	// Grace is how long a program that has to end may clean up after SIGTERM
	// before it is killed.
	Grace time.Duration
	// Log takes what it prints, line by line.
	Log func(line string)
}

// Run runs the program. It returns when the program and all processes of its
// group have ended. Stdout and Files are closed once the program has started,
// so that who reads their other ends sees them end.
func (p Program) Run(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, p.Timeout, errTimeout)
	defer cancel()
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("running %q: %w", p.Path, err)
	}
	defer out.Close()
	if err := closeOnExec(); err != nil {
		return fmt.Errorf("running %q: %w", p.Path, err)
	}
	cmd := p.command(in)
	err = start(cmd)
	in.Close()
	p.closeFiles()
	if err != nil {
		return p.startError(err)
	}
	last := make(chan string, 1)
	go func() { last <- readLog(out, p.Log) }()
	waitErr := p.wait(limited, cmd)
	// What is in the pipe can be read at once; longer waits are for a process
	// that left the program's group and still holds the pipe.
	if err := out.SetReadDeadline(time.Now().Add(leftoverWait)); err != nil {
		return fmt.Errorf("running %q: %w", p.Path, err)
	}
	return p.explain(ctx, limited, waitErr, <-last)
}

// start starts a program with the usual umask instead of the building user's: it
// decides what modes the files of a root get. On a thread of its own the umask is
// no other's (CLONE_FS); where the system forbids that, it is changed for a moment.
func start(cmd *exec.Cmd) error {
	const umask = 0o022
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends here
		_ = unix.Unshare(unix.CLONE_FS)
		old := unix.Umask(umask)
		err := cmd.Start()
		unix.Umask(old)
		done <- err
	}()
	return <-done
}

// closeOnExec keeps to ourselves what who started us left open, perhaps with a
// secret: a shell's <(...), for example. Our own files are closed on exec anyway.
func closeOnExec() error {
	const firstFile, lastFile = 3, math.MaxInt32
	err := unix.CloseRange(firstFile, lastFile, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return nil // Linux before 5.11
	}
	return err
}

// command prepares the program. No exec.CommandContext: it kills the program,
// but not the processes that the program started.
func (p Program) command(log *os.File) *exec.Cmd {
	stdout := p.Stdout
	if stdout == nil {
		stdout = log
	}
	return &exec.Cmd{
		Path: p.Path, Args: append([]string{p.Path}, p.Args...), Dir: p.Dir, Env: p.Env,
		Stdout: stdout, Stderr: log, ExtraFiles: p.Files,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
}

func (p Program) closeFiles() {
	if p.Stdout != nil {
		p.Stdout.Close()
	}
	for _, f := range p.Files {
		f.Close()
	}
}

// wait waits for the program to end, or ends it when ctx ends, and then kills
// what is left of its process group. The program is reaped last, so that its
// number can't have become another group's.
func (p Program) wait(ctx context.Context, cmd *exec.Cmd) error {
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
		p.terminate(pid, ended)
	}
	killErr := unix.Kill(-pid, unix.SIGKILL)
	<-ended
	err := cmd.Wait()
	if err == nil && killErr != nil && !errors.Is(killErr, unix.ESRCH) && !errors.Is(killErr, unix.EPERM) {
		err = killErr
	}
	return err
}

// terminate lets the program clean up.
func (p Program) terminate(pid int, ended <-chan struct{}) {
	if p.Grace <= 0 || unix.Kill(-pid, unix.SIGTERM) != nil {
		return
	}
	select {
	case <-ended:
	case <-time.After(p.Grace):
	}
}

// explain makes an error of how the program ended. Its own status says most,
// even when it was about to be killed.
func (p Program) explain(ctx, limited context.Context, err error, last string) error {
	var exit *exec.ExitError
	exited := errors.As(err, &exit) && exit.Exited() && (p.Grace == 0 || limited.Err() == nil)
	switch {
	case err == nil && ctx.Err() == nil:
		return nil
	case exited && last != "":
		return fault.Buildf("running %q: %w; its last line: %.200s", p.Path, err, last)
	case exited:
		return fault.Buildf("running %q: %w", p.Path, err)
	case context.Cause(limited) != errTimeout && ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		return fault.Buildf("running %q: it took longer than %s and was killed", p.Path, p.Timeout).
			WithFix("raise %s, or find out what it waits for", p.TimeoutField)
	}
	return fault.Buildf("running %q: %w", p.Path, err)
}

// startError explains why a program didn't start.
func (p Program) startError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return fault.Inputf("running %q: the system doesn't know its format", p.Path).
			WithFix("begin the script with #! and its interpreter, for example #!/bin/sh")
	case errors.Is(err, fs.ErrNotExist) && p.hasDOSLine():
		return fault.Inputf("running %q: its first line ends with a carriage return, which belongs to the interpreter's name", p.Path).
			WithFix("save it with Unix line ends")
	case errors.Is(err, fs.ErrNotExist):
		return fault.Toolf("running %q: its interpreter is missing: %w", p.Path, err).
			WithFix("install what the script's first line names")
	}
	return fault.Inputf("running %q: %w", p.Path, err)
}

// maxFirstLine bounds a script's first line, in bytes (BINPRM_BUF_SIZE of
// include/uapi/linux/binfmts.h).
const maxFirstLine = 256

// hasDOSLine tells whether a script was saved with the line ends of DOS.
func (p Program) hasDOSLine() bool {
	f, err := os.Open(p.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, maxFirstLine))
	line, _, ended := bytes.Cut(head, []byte("\n"))
	return err == nil && ended && bytes.HasSuffix(line, []byte("\r"))
}
