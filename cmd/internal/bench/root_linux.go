package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Room is a root directory with tools of its own, to which folders of the host
// are added. Programs that make images want to be in a real root: one that is a
// mount point, in which they may mount.
type Room struct {
	Root string
	// Binds are the host's folders by their places in the room.
	Binds map[string]string
}

// roomVariable tells this program, started again, to enter a room.
const roomVariable = "BOOTSMITH_BENCH_ROOM"

// entry is what roomVariable holds.
type entry struct {
	Room Room
	Dir  string
	Argv []string
}

// Command returns a command that starts this program again, in new namespaces,
// to run argv in the room. Its folder is dir, a path in the room.
func (r Room) Command(ctx context.Context, dir string, argv ...string) *exec.Cmd {
	data, err := json.Marshal(entry{r, dir, argv})
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Err = err
	cmd.Env = []string{roomVariable + "=" + string(data), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	return cmd
}

// Inside runs what Command asked for, if this program was started by it: a
// function by its name, or else a program. It returns only when it wasn't.
func Inside(functions map[string]func() error) error {
	data := os.Getenv(roomVariable)
	if data == "" {
		return nil
	}
	var e entry
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return err
	}
	if err := e.Room.enter(); err != nil {
		return fmt.Errorf("entering %q: %w", e.Room.Root, err)
	}
	if err := os.Chdir(e.Dir); err != nil {
		return err
	}
	if f := functions[e.Argv[0]]; f != nil {
		if err := f(); err != nil {
			return err
		}
		os.Exit(0)
	}
	program, err := exec.LookPath(e.Argv[0])
	if err != nil {
		return err
	}
	return syscall.Exec(program, e.Argv, os.Environ())
}

// enter makes the room the process's root (pivot_root(2)).
func (r Room) enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount(r.Root, r.Root, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	binds := map[string]string{"dev": "/dev", "sys": "/sys"}
	for at, from := range r.Binds {
		binds[at] = from
	}
	for at, from := range binds {
		to := filepath.Join(r.Root, at)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mounting %q: %w", from, err)
		}
	}
	for _, m := range []struct{ kind, at string }{{"proc", "proc"}, {"tmpfs", "run"}, {"tmpfs", "mnt"}} {
		if err := unix.Mount(m.kind, filepath.Join(r.Root, m.at), m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.kind, err)
		}
	}
	old := filepath.Join(r.Root, "mnt", "old")
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(r.Root, old); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return unix.Unmount("/mnt/old", unix.MNT_DETACH)
}
