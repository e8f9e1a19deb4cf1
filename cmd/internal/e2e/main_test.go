package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(launchVariable); text != "" {
		os.Exit(launch(text))
	}
	code := m.Run()
	if dir, err := workspace(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// workspace is a folder that all tests share and every user may enter.
var workspace = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "bootsmith-e2e-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
})

// program builds the program as the Makefile does and returns its path.
var program = sync.OnceValues(func() (string, error) {
	dir, err := workspace()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bootsmith")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "github.com/powernode/bootsmith/cmd/bootsmith")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return path, os.Chmod(path, 0o755)
})
