// Command bootsmith builds, publishes and verifies operating system images.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/cmd/internal/terminal"
)

// memoryLimit is what the garbage collector tries to stay below, in bytes: a
// build is to get by with 512 MiB.
const memoryLimit = 400 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return cli.Run(ctx, cli.Env{
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Getenv:   os.Getenv,
		Now:      time.Now,
		HostRoot: "/", Width: terminal.Width(os.Stderr),
	}, os.Args[1:])
}
