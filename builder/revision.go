package builder

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Exec runs a program in a folder and returns its standard output.
type Exec func(ctx context.Context, dir string, argv ...string) ([]byte, error)

// Commit is the commit of a definition's repository.
type Commit struct {
	SHA  string // 40 or 64 hex digits; "" when there is no repository
	Time int64  // committer time, seconds since 1970
}

// FindCommit asks git for the commit of the repository that tracks the
// definition at path. A definition that no repository tracks, or a machine
// without git, gives a zero Commit.
func FindCommit(ctx context.Context, run Exec, path string) (Commit, error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if _, err := run(ctx, dir, "git", "ls-files", "--error-unmatch", "--", base); err != nil {
		return Commit{}, nil
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
