// Package cli is Bootsmith's command line, one file per verb. It runs in
// process: everything it takes from its surroundings comes in through Env, and
// it ends by returning an exit code.
package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/fault"
)

// Env is what a command line runs in.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	// Width returns the number of columns of the terminal that Stderr is; nil
	// when it is none.
	Width func() int
	// Transport sends the requests to registries; nil means
	// http.DefaultTransport.
	Transport *http.Transport
	// HostRoot is the folder under which the build host's own files (apt
	// sources, keyrings) are looked up; "/" outside tests.
	HostRoot string
}

// Exit codes: one per class of error.
const (
	ExitOK       = 0
	ExitInternal = 1
	ExitDiffer   = 1 // of diff --exit-code
	ExitInput    = 2
	ExitTool     = 3
	ExitBuild    = 4
	ExitRemote   = 5
	ExitCallback = 6
)

// Run executes a command line, without the program's name, and returns the
// exit code.
func Run(ctx context.Context, env Env, args []string) int {
	return Execute(ctx, env, newRoot(env), args)
}

// Execute runs a command tree as Run does: errors become one line on stderr
// and an exit code.
func Execute(ctx context.Context, env Env, root *cobra.Command, args []string) int {
	prepare(root)
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errDiffer) {
		printError(env, err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if errors.Is(err, errDiffer) {
		return ExitDiffer
	}
	switch fault.ClassOf(err) {
	case fault.Input:
		return ExitInput
	case fault.Tool:
		return ExitTool
	case fault.Build:
		return ExitBuild
	case fault.Remote:
		return ExitRemote
	case fault.Callback:
		return ExitCallback
	}
	return ExitInternal
}

const longHelp = `Bootsmith builds bootable artifacts from one platform definition: kernel and
initramfs, GPT disk image, ISO, iPXE script, qcow2 and a bootc-compatible OCI
image, all around one verified root. It publishes and signs them, and tells the
platform.

Exit codes: 0 done, 2 bad input, 3 missing tool, 4 build failed, 5 registry or
signing failed, 6 callback failed.`

func newRoot(env Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "bootsmith",
		Short: "Build, prove and ship bootable operating system images",
		Long:  longHelp,
	}
	root.AddCommand(
		newBuild(env), newLock(env), newPlan(env), newValidate(env), newDiff(env), newPublish(env), newNotify(env), newShip(env),
		newVerify(env), newInspect(env), newRun(env), newIngest(env),
		newCache(env), newSchema(env), newVersion(env),
	)
	return root
}

// prepare makes a command tree silent about errors, which Execute prints, and
// classes wrong flags and arguments as the user's mistakes.
func prepare(c *cobra.Command) {
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fault.Inputf("%w", err).WithFix("see %s --help", c.CommandPath())
	})
	c.Args = inputArgs(c.Args)
	if c.HasSubCommands() && c.RunE == nil {
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	for _, sub := range c.Commands() {
		prepare(sub)
	}
}

// inputArgs gives a verb's argument check the class of a user's mistake.
func inputArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = cobra.NoArgs
	}
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return fault.Inputf("%w", err).WithFix("see %s --help", c.CommandPath())
		}
		return nil
	}
}
