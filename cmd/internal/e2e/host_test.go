package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// smallDisk is the size of a disk that is too small, in bytes.
const smallDisk = 2 << 20

// TestDiskFull builds onto a file system that is too small, once for what is
// built and once for what is downloaded.
func TestDiskFull(t *testing.T) {
	small := t.TempDir()
	env := []string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}

	t.Run("output", func(t *testing.T) {
		first, err := warm()
		if err != nil {
			t.Fatal(err)
		}
		h := host{SmallDisk: small, SmallSize: smallDisk, Dir: filepath.Dir(first.dir), Env: env}
		got, err := h.run(t.Context(), "build", "--file", "definition", "--arch", "amd64", "--offline",
			"--cache-dir", first.cache, "--output-dir", filepath.Join(small, "out"))
		if err != nil {
			t.Fatal(err)
		}
		wantFailure(t, got, cli.ExitBuild, "no space left on device", small, "free disk space")
		if !slices.Equal(got.Left, []string{"out"}) {
			t.Errorf("the disk holds %q", got.Left)
		}
	})
	t.Run("cache", func(t *testing.T) {
		repo, _ := newRepo()
		p := newPlatform(t, repo, serve(t, mirror{repo: repo}))
		output, check := outputWithBuild(t)
		h := host{SmallDisk: small, SmallSize: smallDisk, Env: env}
		got, err := h.run(t.Context(), "build", "--file", p.write(t), "--cache-dir", filepath.Join(small, "cache"), "--output-dir", output)
		if err != nil {
			t.Fatal(err)
		}
		wantFailure(t, got, cli.ExitBuild, "no space left on device", small, "free disk space")
		check()
		for _, path := range got.Left {
			if strings.Contains(path, "/.new-") || strings.HasPrefix(path, "cache/objects/tmp/") {
				t.Errorf("the disk holds %s", path)
			}
		}
	})
}

// TestMissingTool boots on a host without QEMU.
func TestMissingTool(t *testing.T) {
	first, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	h := host{Env: []string{"HOME=/nonexistent", "PATH=/nonexistent"}}
	got, err := h.run(t.Context(), "run", "raw", "--arch", "arm64", "--output-dir", first.dir)
	if err != nil {
		t.Fatal(err)
	}
	wantFailure(t, got, cli.ExitTool, "qemu-system-aarch64", "install the package qemu-system-arm")
}

// TestOutputIsUnwritable builds into a folder that can't be made.
func TestOutputIsUnwritable(t *testing.T) {
	first, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got := bootsmith(t.Context(), nil, "build", "--file", definitionDir, "--offline", "--cache-dir", first.cache, "--output-dir", filepath.Join(file, "out"))
	wantFailure(t, got, cli.ExitInput, file, "not a directory", "--output-dir")
}
