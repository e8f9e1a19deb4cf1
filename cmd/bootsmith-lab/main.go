// Command bootsmith-lab holds what belongs in no production runner: a certificate
// authority with its log, for a team or, with a registry, on loopback; and a demo
// that puts a platform through the whole of Bootsmith against them. A runner that
// could certify itself would prove nothing. The threat model is in package
// localstack.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/cmd/internal/terminal"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Now: time.Now, HostRoot: "/", Width: terminal.Width(os.Stderr),
	}
	return cli.Execute(ctx, env, newRoot(env), os.Args[1:])
}
