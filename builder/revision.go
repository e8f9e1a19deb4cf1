package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
)

// Exec runs a program in a folder and returns its standard output.
type Exec func(ctx context.Context, dir string, argv ...string) ([]byte, error)

// Commit is the commit of a definition's repository.
type Commit struct {
	SHA  string // 40 or 64 hex digits; "" when there is no repository
	Time int64  // committer time, seconds since 1970
}

// FindCommit asks git for the commit of the repository that tracks the
// definition at path. A definition that no repository tracks gives a zero Commit.
// A repository that git refuses to read, as it does when another user owns it, is
// an error of class fault.Input, and one without git of class fault.Tool.
func FindCommit(ctx context.Context, run Exec, path string) (Commit, error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if _, err := run(ctx, dir, "git", "ls-files", "--error-unmatch", "--", base); err != nil {
		return Commit{}, refused(path, err)
	}
	out, err := run(ctx, dir, "git", "log", "-1", "--format=%H %ct")
	if err != nil {
		return Commit{}, nil
	}
	sha, stamp, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return Commit{}, fmt.Errorf("reading the commit of %q: git printed %q", path, out)
	}
	return Commit{SHA: sha, Time: seconds}, nil
}

// hasChanges tells whether tracked files in the folder of a definition, which is
// tracked itself, are not as they were committed.
func hasChanges(ctx context.Context, run Exec, path string) (bool, error) {
	changes, err := run(ctx, filepath.Dir(path), "git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--", ".")
	if err != nil {
		return false, fmt.Errorf("looking for changes beside %q: %w", path, err)
	}
	return len(changes) > 0, nil
}

// gitFatal is git's exit status when it can't work at all.
const gitFatal = 128

// refused returns an error when there is a repository, but git doesn't read it.
func refused(path string, err error) error {
	var exit *exec.ExitError
	switch {
	case !inRepository(path):
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return fault.Toolf("reading the commit of %q: %w", path, err).
			WithFix("install git, or set SOURCE_DATE_EPOCH and give --git-sha")
	case !errors.As(err, &exit) || exit.ExitCode() != gitFatal:
		return nil
	}
	says, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
	return fault.Inputf("reading the commit of %q: git says %q", path, says).
		WithFix("let git read the repository (safe.directory in git-config(1) trusts one of another user), or set SOURCE_DATE_EPOCH and give --git-sha")
}

// inRepository tells whether a folder above a file is a repository's.
func inRepository(path string) bool {
	abs, err := filepath.Abs(path)
	for dir := filepath.Dir(abs); err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return false
}
