package builder

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
)

// A repository that git doesn't read, such as another user's, is no reason to
// record another revision and another time stamp.
func TestRefusedRepository(t *testing.T) {
	dir := t.TempDir()
	f := parse(t, definition)
	f.Path = filepath.Join(dir, "a", "platform.yaml")
	c := testConfig(t)
	c.Exec = func(ctx context.Context, _ string, _ ...string) ([]byte, error) {
		return exec.CommandContext(ctx, "sh", "-c", "echo fatal: detected dubious ownership >&2; echo more >&2; exit 128").Output()
	}
	if _, err := NewPlan(t.Context(), c, Request{File: f}); err != nil {
		t.Errorf("without a repository: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := NewPlan(t.Context(), c, Request{File: f})
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), `git says "fatal: detected dubious ownership"; let git read`) {
		t.Errorf("got %v", err)
	}
	if _, err := NewPlan(t.Context(), c, Request{File: f, SourceDateEpoch: "1", Revision: "0123456"}); err != nil {
		t.Errorf("with revision and time stamp: %v", err)
	}
}

// A repository can't be read without git.
func TestRepositoryWithoutGit(t *testing.T) {
	dir := t.TempDir()
	f := parse(t, definition)
	f.Path = filepath.Join(dir, "platform.yaml")
	c := testConfig(t)
	c.Exec = func(context.Context, string, ...string) ([]byte, error) {
		return nil, &exec.Error{Name: "git", Err: exec.ErrNotFound}
	}
	if _, err := NewPlan(t.Context(), c, Request{File: f}); err != nil {
		t.Errorf("without a repository: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := NewPlan(t.Context(), c, Request{File: f})
	if fault.ClassOf(err) != fault.Tool || !strings.Contains(err.Error(), "install git") {
		t.Errorf("got %v", err)
	}
}

// Changes that aren't committed are told, but for a revision that was given.
func TestUncommittedChanges(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "platform.yaml")
	if err := os.WriteFile(file, []byte(definition), 0o644); err != nil {
		t.Fatal(err)
	}
	git := func(ctx context.Context, dir string, argv ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
		return cmd.Output()
	}
	for _, argv := range [][]string{{"git", "init", "-q"}, {"git", "add", "."}, {"git", "commit", "-q", "-m", "first"}} {
		if _, err := git(t.Context(), dir, argv...); err != nil {
			t.Fatal(err)
		}
	}
	told := func(revision string) (n int) {
		f := parse(t, definition)
		f.Path = file
		c := testConfig(t)
		c.Exec = git
		c.Report = func(e Event) {
			if e.Stage == "revision" && strings.Contains(e.Detail, "not as they were committed") {
				n++
			}
		}
		newTestPlan(t, c, Request{File: f, Revision: revision})
		return n
	}
	if err := os.WriteFile(filepath.Join(dir, "untracked"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if n := told(""); n != 0 {
		t.Errorf("%d reports of changes that aren't there", n)
	}
	if err := os.WriteFile(file, []byte(definition+"# more\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if n := told(""); n != 1 {
		t.Errorf("%d reports of a change", n)
	}
	if n := told("0123456"); n != 0 {
		t.Errorf("%d reports for a revision that was given", n)
	}
}
