package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

// Run starts the machine and returns when it ends or ctx is done. The serial
// port is connected to stdin and console; with monitor, QEMU's escape keys
// (Ctrl-A X ends it) are on, so that Ctrl-C reaches the guest.
func (m Machine) Run(ctx context.Context, stdin io.Reader, console io.Writer, monitor bool) error {
	if err := checkTools(m.Arch.QEMU); err != nil {
		return err
	}
	args, err := m.Command()
	if err != nil {
		return err
	}
	return Start(ctx, args, stdin, console, monitor)
}

// Start is Run for arguments that the caller put together.
func Start(ctx context.Context, args []string, stdin io.Reader, console io.Writer, monitor bool) error {
	serial := "stdio"
	if monitor {
		serial = "mon:stdio"
	}
	args = append(args, "-serial", serial)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := connect(cmd, stdin); err != nil {
		return fmt.Errorf("running %s: %w", args[0], err)
	}
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("running %s: %w", args[0], err)
	}
	return ctx.Err()
}

// connect passes stdin to the command. A reader that isn't a file may have nothing
// to say for ever: the command must be able to end without it.
func connect(cmd *exec.Cmd, stdin io.Reader) error {
	if f, ok := stdin.(*os.File); ok || stdin == nil {
		if ok {
			cmd.Stdin = f
		}
		return nil
	}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	go func() {
		io.Copy(pipe, stdin)
		pipe.Close()
	}()
	return nil
}

func checkTools(q arch.QEMU) error {
	if _, err := exec.LookPath(q.Binary); err != nil {
		return fault.Toolf("looking for %s: %w", q.Binary, errors.Unwrap(err)).WithFix("install the package %s", q.Package)
	}
	for _, f := range []string{q.Code, q.Vars} {
		if _, err := os.Stat(f); err != nil {
			return fault.Toolf("looking for the UEFI firmware: %w", err).WithFix("install the package %s", q.FirmwarePackage)
		}
	}
	return nil
}
