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
