// Command bootsmith builds, publishes and verifies operating system images.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/powernode/bootsmith/cmd/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Run(ctx, cli.Env{
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Getenv:   os.Getenv,
		Now:      time.Now,
		HostRoot: "/",
	}, os.Args[1:])
}
