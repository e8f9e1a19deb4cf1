package e2e_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// interruptLimit is how long a program may take to end after Ctrl-C.
const interruptLimit = 30 * time.Second

// interrupted starts the program, sends it SIGINT when ready returns, and waits
// for its end. ready is given the program's standard error.
func interrupted(t *testing.T, ready func(stderr io.Reader), args ...string) outcome {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	ready(io.TeeReader(stderr, &said))
	sent := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(&said, stderr); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if took := time.Since(sent); took > interruptLimit {
		t.Errorf("it went on for %s", took)
	}
	return outcome{Code: cmd.ProcessState.ExitCode(), stderr: said.String()}
}

// TestInterruptedDownload sends SIGINT while the index or a package is on its
// way from a mirror that stopped in the middle.
func TestInterruptedDownload(t *testing.T) {
	for _, stall := range []string{"/InRelease", "/Packages.xz", "/app_1.0_amd64.deb"} {
		t.Run(stall, func(t *testing.T) {
			t.Parallel()
			repo, _ := newRepo()
			m := mirror{repo: repo, stall: stall, reached: make(chan struct{})}
			p := newPlatform(t, repo, serve(t, m))
			output, check := outputWithBuild(t)
			cache := t.TempDir()
			got := interrupted(t, func(io.Reader) {
				select {
				case <-m.reached:
				case <-time.After(interruptLimit):
					t.Error("the mirror was not asked")
				}
			}, "build", "--file", p.write(t), "--output-dir", output, "--cache-dir", cache)
			wantFailure(t, got, cli.ExitBuild, "building: interrupted, nothing was left behind")
			check()
			wantNoPartFiles(t, cache)
		})
	}
}

// TestInterruptedBuild sends SIGINT while images are being written.
func TestInterruptedBuild(t *testing.T) {
	first, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	output, check := outputWithBuild(t)
	got := interrupted(t, func(stderr io.Reader) {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "arm64/unpack-root") {
		}
	}, "build", "--file", definitionDir, "--output-dir", output, "--cache-dir", first.cache, "--offline", "--no-cache")
	wantFailure(t, got, cli.ExitBuild, "building: interrupted, nothing was left behind")
	check()
}

// wantNoPartFiles looks for the temporary files of a cache.
func wantNoPartFiles(t *testing.T, cache string) {
	t.Helper()
	paths, err := listFiles(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if name := filepath.Base(path); strings.HasPrefix(name, ".") || filepath.Dir(path) == "objects/tmp" {
			t.Errorf("the cache holds %s", path)
		}
	}
}
