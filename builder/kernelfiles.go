package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/kernel/files"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/tree"
)

// newKernelFiles returns the definition's kernel when it is in files, else nil.
func newKernelFiles(f *spec.File, a arch.Arch) (rootSource, error) {
	k := f.Kernel.Files
	if k == nil {
		return nil, nil
	}
	limits, err := Limits(f)
	if err != nil {
		return nil, err
	}
	return files.Source{
		Image: f.ResolveFor(a, k.Image), Modules: f.ResolveFor(a, k.Modules), DeviceTrees: f.ResolveFor(a, k.DeviceTrees),
		Version: k.Version, Arch: a, Limits: limits,
	}, nil
}

// pinKernels records the state of the targets' kernels that are in files.
func (p *Plan) pinKernels(ctx context.Context, c Config, f *spec.File) error {
	for i := range p.Targets {
		a, err := arch.Lookup(p.Targets[i].Arch)
		if err != nil {
			return err
		}
		if p.Targets[i].KernelDigest, err = pinKernel(ctx, c, f, a, p.Epoch); err != nil {
			return err
		}
	}
	return nil
}

// pinKernel returns the state of an architecture's kernel that is in files, ""
// for others.
func pinKernel(ctx context.Context, c Config, f *spec.File, a arch.Arch, epoch int64) (string, error) {
	k, err := newKernelFiles(f, a)
	if err != nil || k == nil {
		return "", err
	}
	digest, err := k.Pin(ctx, c.Store, epoch)
	if err != nil {
		return "", fault.Default(fault.Input, fmt.Errorf("planning the kernel of %s: %w", a.Name, err))
	}
	return digest, nil
}

// bootsFromRoot tells that the kernel is the root's own.
func (t Target) bootsFromRoot() bool {
	return len(t.Packages.Kernel) == 0 && t.KernelDigest == ""
}

// addKernelFiles lays the kernel's files into the tree of what boots.
func (b *targetBuild) addKernelFiles(ctx context.Context, t *tree.Tree) error {
	if b.target.KernelDigest == "" {
		return nil
	}
	k, err := b.kernelFiles.Read(ctx, b.config.Store, b.plan.Epoch, b.target.KernelDigest)
	if err != nil {
		return err
	}
	return putAll(t, k, "")
}

// addKernelModules lays the modules of a kernel in files into a root that is to
// have them.
func (b *targetBuild) addKernelModules(ctx context.Context, t *tree.Tree) error {
	if b.target.KernelDigest == "" || b.file.Kernel.Modules != spec.ModulesInRoot {
		return nil
	}
	k, err := b.kernelFiles.Read(ctx, b.config.Store, b.plan.Epoch, b.target.KernelDigest)
	if err != nil {
		return err
	}
	return putAll(t, k, "usr/lib/modules")
}

// putAll lays what is below a directory of one tree into the same place of
// another. A directory that doesn't exist holds nothing.
func putAll(to, from *tree.Tree, dir string) error {
	n, err := from.Lookup(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range n.Children() {
		name := from.PathOf(c)
		if old, err := to.Resolve(name); c.Inode.IsDir() && err == nil && old.Inode.IsDir() {
			// It keeps its metadata, as when packages are unpacked.
		} else {
			inode := *c.Inode
			if err := to.Put(name, &inode); err != nil {
				return fmt.Errorf("laying the kernel's files into the root: %w", err)
			}
		}
		if err := putAll(to, from, name); err != nil {
			return err
		}
	}
	return nil
}
