//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/cmdline"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/console"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

// haltTime is how long a failure stays on the screen before the machine halts.
const haltTime = 10 * time.Second

// boot is what all steps share.
type boot struct {
	*console.Console
	settings cmdline.Settings
	start    time.Time
	now      func() time.Time
	sleep    func(time.Duration)
}

func main() {
	b := &boot{Console: console.New(os.Stderr), now: time.Now, sleep: time.Sleep}
	b.settings.Halt = cmdline.PowerOff
	if os.Getpid() != 1 {
		b.Printf("FATAL: this is the first program of an initramfs; boot it, don't run it")
		os.Exit(1)
	}
	b.start = b.now()
	err := b.guarded()
	b.halt(err)
}

// guarded turns a Go panic into an error: if PID 1 ended, the kernel would
// panic, and its trace would hide every message.
func (b *boot) guarded() (err error) {
	defer func() {
		if r := recover(); r != nil {
			b.Debugf("%s", debug.Stack())
			err = remedy.Errorf("report this as a bug", "init failed unexpectedly: %v", r)
		}
	}()
	return b.run()
}

// run boots. It returns only if that fails.
func (b *boot) run() error {
	if err := b.prepare(); err != nil {
		return err
	}
	image, err := b.findImage()
	if err != nil {
		return err
	}
	device, err := b.openVerity(image)
	if err != nil {
		return err
	}
	if err := b.mountRoot(device); err != nil {
		return device.explain(err)
	}
	b.Printf("root verified composefs=%x", b.settings.Composefs)
	init, err := b.prepareInit(image)
	if err != nil {
		return device.explain(err)
	}
	return device.explain(b.switchRoot(init))
}

// prepare mounts what the kernel offers, reads the command line and loads the
// drivers.
func (b *boot) prepare() error {
	if err := onInitramfs(); err != nil {
		return err
	}
	if err := mountAll(kernelMounts()); err != nil {
		return err
	}
	b.openConsoles()
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return fmt.Errorf("reading the kernel command line: %w", err)
	}
	settings, err := cmdline.Parse(string(line))
	b.settings = settings
	b.SetDebug(settings.Debug)
	if err != nil {
		return err
	}
	b.Debugf("the command line is %s", line)
	if err := b.loadModules(); err != nil {
		return err
	}
	return b.checkMemory()
}

// halt tells what went wrong and ends the machine. It doesn't return.
func (b *boot) halt(err error) {
	b.Printf("FATAL: %v", withFix(err))
	unix.Sync()
	if b.settings.Halt == cmdline.Wait {
		b.Printf("waiting for somebody to switch the machine off (%s=%s)", cmdline.HaltBy, cmdline.Wait)
	} else {
		b.Printf("%s in %v; add %s=%s to keep this message", b.settings.Halt, haltTime, cmdline.HaltBy, cmdline.Wait)
		b.sleep(haltTime)
		command := unix.LINUX_REBOOT_CMD_POWER_OFF
		if b.settings.Halt == cmdline.Reboot {
			command = unix.LINUX_REBOOT_CMD_RESTART
		}
		b.Printf("halting failed: %v", unix.Reboot(command))
	}
	for {
		b.sleep(time.Hour)
	}
}
