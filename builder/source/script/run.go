package script

import (
	"context"
	"errors"
	"os"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/program"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// program returns the script as a program; fd3, unless nil, becomes its file
// descriptor 3.
func (p Source) program(env []string, fd3 *os.File) program.Program {
	run := program.Program{Path: p.Path, Dir: p.Dir, Env: env, Timeout: p.Timeout, TimeoutField: "root.script.timeout", Log: p.Log}
	if fd3 != nil {
		run.Files = []*os.File{fd3}
	}
	return run
}

// readTar reads file descriptor 3 of the script while it runs.
func (p Source) readTar(ctx context.Context, s *store.Store, epoch int64) (*tree.Tree, error) {
	t, err := program.Tar(ctx, s, epoch, p.Limits, "file descriptor 3", func(out *os.File) program.Program {
		return p.program(p.environment(epoch), out)
	})
	if errors.Is(err, program.ErrEmpty) {
		return nil, fault.Buildf("%w", err).
			WithFix("have it write a tar archive there, for example tar -c . >&3, or set root.script.output to root")
	}
	return t, err
}
