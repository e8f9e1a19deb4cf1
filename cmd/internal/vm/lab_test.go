//go:build boot

package vm_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/publish/localstack"
)

const definition = "../../../fixtures/platforms/minimal"

// lab is what the boots share.
type lab struct {
	// builds are output folders by kernel; absolute is the build whose iPXE
	// script has absolute URLs.
	builds   map[string]string
	absolute string
	web      *webServer
	registry string // "127.0.0.1:port", plain HTTP
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{web: startWebServer(t), registry: startRegistry(t), absolute: t.TempDir()}
	l.builds = map[string]string{
		cloud:   buildPlatform(t, definition),
		generic: buildPlatform(t, genericKernel(t)),
	}
	l.buildAbsolute(t)
	return l
}

// startRegistry starts the registry that comes with the local signing stack.
func startRegistry(t *testing.T) string {
	t.Helper()
	stack, err := localstack.Start(context.Background(), localstack.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stack.Close() })
	return stack.Registry
}

// buildMinimal builds the minimal platform as it is.
func buildMinimal(t *testing.T) string { return buildPlatform(t, definition) }

// buildPlatform builds a definition and returns the output folder.
func buildPlatform(t *testing.T, definition string, flags ...string) string {
	t.Helper()
	output := filepath.Join(t.TempDir(), "build")
	var log bytes.Buffer
	env := cli.Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &log, Getenv: os.Getenv, Now: time.Now, HostRoot: "/"}
	args := append([]string{"build", "--file", definition, "--output-dir", output}, flags...)
	if code := cli.Run(context.Background(), env, args); code != 0 {
		t.Fatalf("build ended with %d:\n%s", code, log.String())
	}
	return output
}

// variant copies the minimal platform and changes its definition.
func variant(t *testing.T, change func(yaml string) string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "platform")
	if err := os.CopyFS(dir, os.DirFS(definition)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "platform.yaml")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := change(string(old))
	if text == string(old) {
		t.Fatal("the definition didn't change")
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// genericKernel is the minimal platform with the distribution's generic kernel.
func genericKernel(t *testing.T) string {
	return variant(t, func(yaml string) string {
		return strings.Replace(yaml, "linux-image-cloud-${arch}", "linux-image-${arch}", 1)
	})
}

func readManifest(t *testing.T, dir string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// run runs an installed program and returns what it printed.
func run(t *testing.T, debianPackage, name string, args ...string) string {
	t.Helper()
	out, err := runProgram(debianPackage, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
