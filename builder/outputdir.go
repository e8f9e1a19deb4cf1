package builder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/spec"
)

// checkOutput refuses an output folder that is a part of the build's input, or in
// which a build would replace what no build has made.
func checkOutput(f *spec.File, p *Plan, output string) error {
	if output == "" {
		return fault.Inputf("making the output folder: it has no name").WithFix("give one with --output-dir")
	}
	for _, t := range p.Targets {
		if err := checkReplaced(filepath.Join(output, t.Arch)); err != nil {
			return err
		}
		if err := checkOutside(f, t.Arch, output); err != nil {
			return err
		}
	}
	return nil
}

// checkReplaced refuses to replace anything but a build or an empty folder.
func checkReplaced(final string) error {
	entries, err := os.ReadDir(final)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(final, manifest.FileName))
	}
	if errors.Is(err, fs.ErrPermission) {
		return fault.Inputf("replacing a build: %w", err).WithFix("give another folder with --output-dir")
	}
	if err != nil {
		return fault.Inputf("replacing %q: no build made it: %w", final, err).WithFix("move it away, or give another folder with --output-dir")
	}
	return nil
}

// checkOutside refuses an output folder below a folder that is read as a whole.
func checkOutside(f *spec.File, name, output string) error {
	a, err := arch.Lookup(name)
	if err != nil {
		return err
	}
	inputs := [][2]string{{"files", f.Files}, {"esp", f.ESP}, {"initramfs.files", f.Initramfs.Files}}
	if d := f.Root.Directory; d != nil {
		inputs = append(inputs, [2]string{"root.directory.path", f.Expand(d.Path, a)})
	}
	within := realPath(output)
	for _, in := range inputs {
		if in[1] == "" {
			continue
		}
		if rel, err := filepath.Rel(realPath(f.Resolve(in[1])), within); err == nil && filepath.IsLocal(rel) {
			return f.Bad(in[0], "the output folder %q is in %q, which the build reads", output, in[1]).WithFix("give another folder with --output-dir")
		}
	}
	return nil
}

// realPath returns an absolute path without symlinks, as far as it exists.
func realPath(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil || abs == filepath.Dir(abs) {
		return resolved
	}
	return filepath.Join(realPath(filepath.Dir(abs)), filepath.Base(abs))
}
