//go:build sources

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/cmd/internal/rootforms"
)

// largeFile is the size in bytes of one file, many times what a build may take.
const largeFile = 1 << 30

// largePeak is how much memory reading it may take, in bytes.
const largePeak = 192 << 20

// TestSourcesMemory reads a file that is far larger than memory is allowed, from
// every source: each streams it. The build then ends for want of a kernel.
func TestSourcesMemory(t *testing.T) {
	dir := openFolder(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "root/large")
	makeDir(t, filepath.Dir(large))
	writeFile(t, large, "", 0o644)
	for _, name := range []string{"dev", "proc", "run", "sys", "sbin"} {
		makeDir(t, filepath.Join(dir, "root", name))
	}
	writeFile(t, filepath.Join(dir, "root/sbin/init"), "init", 0o755)
	if err := os.Truncate(large, largeFile); err != nil {
		t.Fatal(err)
	}
	tarTool.run(t, dir, "--sparse", "--format=gnu", "--zstd", "-C", "root", "-cf", "sparse.tar.zst", ".")
	tarTool.run(t, dir, "-C", "root", "-cf", "whole.tar", ".")
	rootforms.Run(t, "umoci", dir, "umoci", "init", "--layout", "layout")
	rootforms.Run(t, "umoci", dir, "umoci", "new", "--image", "layout:latest")
	rootforms.Run(t, "umoci", dir, "umoci", "config", "--image", "layout:latest", "--architecture", "amd64")
	rootforms.Run(t, "umoci", dir, "umoci", "raw", "add-layer", "--image", "layout:latest", "whole.tar")
	for name, source := range map[string]string{
		"archive":   "archive: {path: ../sparse.tar.zst}",
		"plain":     "archive: {path: ../whole.tar}",
		"directory": "directory: {path: ../root}",
		"script":    "script: {path: build.sh}",
		"image":     "image: {reference: \"oci:../layout\"}",
	} {
		t.Run(name, func(t *testing.T) {
			platform := filepath.Join(dir, name)
			makeDir(t, platform)
			writeFile(t, filepath.Join(platform, "platform.yaml"), "name: large\narchitectures: [amd64]\nfamilies: [kernel-initrd]\nroot:\n  "+source+"\n", 0o644)
			rootforms.Script(t, filepath.Join(platform, "build.sh"), "#!/bin/sh\nexec tar -C ../root -c . >&3\n")
			h := host{Env: []string{"HOME=/nonexistent", "SOURCE_DATE_EPOCH=" + rootforms.Epoch, "PATH=" + os.Getenv("PATH")}}
			got, err := h.run(t.Context(), "build", "--file", platform, "--jobs", "1", "--output-dir", filepath.Join(dir, "out"), "--cache-dir", filepath.Join(dir, "cache"))
			if err != nil {
				t.Fatal(err)
			}
			if got.Code != cli.ExitInput || !strings.Contains(got.stderr, "finding the kernel") {
				t.Fatalf("it ended with %d:\n%s", got.Code, got.stderr)
			}
			t.Logf("reading %d MiB took %d MiB", largeFile>>20, got.MaxRSS>>20)
			if got.MaxRSS == 0 || got.MaxRSS > largePeak {
				t.Errorf("it took %d bytes of memory, at most %d are allowed", got.MaxRSS, largePeak)
			}
		})
	}
}
