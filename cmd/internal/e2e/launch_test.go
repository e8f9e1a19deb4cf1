package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/publish/localstack"
)

// launchVariable makes the test binary a launcher: it takes on what host says,
// runs the program, and reports on file descriptor 3.
const launchVariable = "BOOTSMITH_E2E_LAUNCH"

// nobody is the user and group of Debian's nobody.
const nobody = 65534

// host is the surroundings of a run of the program.
type host struct {
	Umask int
	Env   []string // all of it
	Dir   string   // working folder
	// Unprivileged runs as nobody, when the tests run as root.
	Unprivileged bool
	// NoNetwork takes every network interface away.
	NoNetwork bool
	// Registry is the state folder of a local stack, which then serves on
	// loopback.
	Registry string
	// SmallDisk is a folder that becomes a file system of SmallSize bytes.
	SmallDisk string
	SmallSize int64
	Argv      []string
}

// outcome is how a run ended.
type outcome struct {
	Code   int
	MaxRSS int64 // bytes
	// Left is what lies in SmallDisk afterwards.
	Left           []string
	stdout, stderr string
}

// run runs the program there.
func (h host) run(ctx context.Context, args ...string) (outcome, error) {
	path, err := program()
	if err != nil {
		return outcome{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	h.Argv = append([]string{path}, args...)
	text, err := json.Marshal(h)
	if err != nil {
		return outcome{}, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = []string{launchVariable + "=" + string(text)}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = h.namespaces()
	out, err := report(cmd)
	out.stdout, out.stderr = stdout.String(), stderr.String()
	if err != nil {
		return out, fmt.Errorf("running %q: %w\n%s", h.Argv, err, out.stderr)
	}
	return out, nil
}

// report runs a launcher and reads what it says on file descriptor 3.
func report(cmd *exec.Cmd) (outcome, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return outcome{}, err
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if errors.Is(err, syscall.EPERM) {
		return outcome{}, fmt.Errorf("%w; namespaces are needed: run as root, or allow user namespaces", err)
	}
	if err != nil {
		return outcome{}, err
	}
	text, rerr := io.ReadAll(r)
	var out outcome
	if err := errors.Join(cmd.Wait(), rerr); err != nil {
		return out, err
	}
	return out, json.Unmarshal(text, &out)
}

// namespaces returns what the launcher needs to be allowed to do its work:
// without root, a user namespace of its own.
func (h host) namespaces() *syscall.SysProcAttr {
	var attr syscall.SysProcAttr
	if h.NoNetwork {
		attr.Cloneflags |= syscall.CLONE_NEWNET
	}
	if h.SmallDisk != "" {
		attr.Cloneflags |= syscall.CLONE_NEWNS
	}
	if attr.Cloneflags == 0 || os.Geteuid() == 0 {
		return &attr
	}
	inside := 0
	if h.Unprivileged {
		inside = os.Getuid()
	}
	attr.Cloneflags |= syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getgid(), Size: 1}}
	return &attr
}

// launch is the launcher's main. It exits with 0 when the program ran, however
// that ended.
func launch(text string) int {
	if err := launchHost(text); err != nil {
		fmt.Fprintf(os.Stderr, "launching: %v\n", err)
		return 1
	}
	return 0
}

func launchHost(text string) error {
	var h host
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return err
	}
	if h.SmallDisk != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("making mounts private: %w", err)
		}
		if err := unix.Mount("tmpfs", h.SmallDisk, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0777", h.SmallSize)); err != nil {
			return fmt.Errorf("mounting a small disk: %w", err)
		}
	}
	if h.Registry != "" {
		stack, err := serveOnLoopback(h.Registry)
		if err != nil {
			return err
		}
		defer stack.Close()
	}
	unix.Umask(h.Umask)
	// The program is not exec'ed in this process' place: its peak memory would
	// count what this process had (Linux, fs/exec.c, exec_mmap).
	cmd := exec.Command(h.Argv[0], h.Argv[1:]...)
	cmd.Env, cmd.Dir = h.Env, h.Dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if h.Unprivileged && os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return err
	}
	out := outcome{Code: cmd.ProcessState.ExitCode()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		out.MaxRSS = usage.Maxrss << 10
	}
	if h.SmallDisk != "" {
		if out.Left, err = listFiles(h.SmallDisk); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.NewFile(3, "report")).Encode(out)
}

// serveOnLoopback starts a local stack on the port that it had before, in a
// network namespace whose loopback interface is down still.
func serveOnLoopback(state string) (*localstack.Stack, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return nil, err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return nil, fmt.Errorf("bringing loopback up: %w", err)
	}
	return localstack.Start(context.Background(), localstack.Config{Dir: state})
}

// listFiles returns the paths below dir, sorted; a missing folder has none.
func listFiles(dir string) ([]string, error) {
	var all []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path == dir && errors.Is(err, fs.ErrNotExist) {
			return fs.SkipAll
		}
		if err == nil && path != dir {
			all = append(all, path[len(dir)+1:])
		}
		return err
	})
	return all, err
}
