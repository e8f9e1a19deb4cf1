//go:build boot

package vm_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/cmd/internal/rootforms"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

const (
	minimalFolder = "../../../fixtures/platforms/minimal"
	scriptSample  = "../../../fixtures/platforms/script-sample"
)

// TestBootSources boots a root from each kind of source, and kernels from the
// root's two places, from files and from a package.
func TestBootSources(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", rootforms.Epoch)
	type source struct {
		name, dir string
		arch      arch.Arch
		up        string // what the platform prints besides; "": it has a shell
	}
	var all []source
	for _, a := range arch.All() {
		all = append(all, source{"script-sample-" + a.Name, scriptSample, a, "script-sample up"})
	}
	amd64 := arch.All()[0]
	for name, text := range forms(t) {
		all = append(all, source{name, text, amd64, ""})
	}
	inParallel(t, machines, len(all), func(t *testing.T, i int) (string, func(*testing.T)) {
		x := all[i]
		return x.name, func(t *testing.T) { bootSource(t, x.dir, x.name, x.up, x.arch) }
	})
}

// forms returns definitions of the root in several forms.
func forms(t *testing.T) map[string]string {
	t.Helper()
	base := buildPlatform(t, rootforms.WriteBase(t, minimalFolder), "--variants", "oci")
	f := rootforms.Make(t, t.TempDir(), base)
	unpacked := filepath.Join(f.Dir, "unpacked")
	run(t, "coreutils", "mkdir", unpacked)
	run(t, "tar", "tar", "--extract", "--no-same-owner", "--preserve-permissions", "--directory", unpacked, "--file", filepath.Join(f.Dir, rootforms.Archive))
	script := f.Define(t, "script", "root: {script: {path: ./build.sh, output: root}}\n")
	rootforms.Script(t, filepath.Join(script, "build.sh"), "#!/bin/sh -e\nexec tar --extract --preserve-permissions --directory \"$BOOTSMITH_ROOT\" --file ../"+rootforms.Archive+"\n")
	return map[string]string{
		"image":     f.Define(t, "image", "root: {image: {reference: \"oci:../"+rootforms.Layout+"\"}}\n"),
		"archive":   f.Define(t, "archive", "root: {archive: {path: ../"+rootforms.Boot+"}}\n"),
		"script":    script,
		"directory": f.Define(t, "directory", "root: {directory: {path: "+unpacked+"}}\n"),
		"kernel-in-files": f.Define(t, "kernel-in-files", "root: {archive: {path: ../"+rootforms.Bare+"}}\n"+
			"kernel: {files: {image: ../"+rootforms.Vmlinuz+", modules: ../"+rootforms.Modules+"}}\n"),
	}
}

// bootSource builds a definition and boots its kernel directly.
func bootSource(t *testing.T, definition, name, up string, a arch.Arch) {
	dir := filepath.Join(buildPlatform(t, definition, "--arch", a.Name, "--variants", "kernel-initrd"), a.Name)
	args, err := vm.Machine{Arch: a, Dir: dir, Family: "kernel-initrd", Scratch: t.TempDir()}.Command()
	if err != nil {
		t.Fatal(err)
	}
	digest := readManifest(t, dir).ComposefsDigest
	for try := 0; ; try++ {
		got := outcome{}
		if up == "" {
			got = bootArgs(args, a, digest)
		} else {
			got = bootUntil(args, "bootsmith-init: root verified composefs="+digest, up)
		}
		keepLog(t, "source_"+name, got.console)
		if got.err == nil {
			t.Logf("reached userspace after %.1f s", got.seconds)
			return
		}
		if try == retries || !emulatorBroke(got.console) {
			t.Fatalf("booting: %v; the console said:\n%s", got.err, got.console)
		}
	}
}

// bootUntil starts a machine and stops it when its console has said all of the
// texts.
func bootUntil(args []string, texts ...string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	stdin, keyboard := io.Pipe()
	defer keyboard.Close()
	screen, ended := newScreen(), make(chan struct{})
	go func() {
		defer close(ended)
		_ = vm.Start(ctx, args, stdin, screen, false) // that it was stopped is no error
		screen.close()
	}()
	var err error
	for _, text := range texts {
		if err == nil {
			err = screen.wait(ctx, text)
		}
	}
	cancel()
	<-ended
	return outcome{console: screen.String(), err: err}
}
