// Package kernel finds the Linux kernel in a file tree and works out which of
// its modules an initramfs needs, and in which order they have to be loaded.
//
// Kernel packages don't ship modules.dep: depmod makes it when they are
// installed. A tree that was only unpacked has none, so the dependencies are
// read from the modules themselves.
package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/tree"
)

// Opener opens the contents of a tree's files; *store.Store is one.
type Opener interface {
	Open(c tree.Content) (io.ReadCloser, error)
}

// Kernel is a kernel in a tree.
type Kernel struct {
	// Version is the release as `uname -r` prints it; it names the folder
	// below /lib/modules.
	Version string
	// Path is where the image is in the tree, without a leading slash.
	Path string
	// Image names the bytes of the image, Size counts them.
	Image tree.Content
	Size  int64

	dir     *tree.Node           // /usr/lib/modules/<Version>, nil without modules
	modules map[string]*fileNode // by canonical name
}

// fileNode is a module's file.
type fileNode struct {
	path  string // slash-separated, relative to dir
	inode *tree.Inode
}

// Find returns the one kernel of a tree. It looks for boot/vmlinuz-<version>
// and usr/lib/modules/<version>/vmlinuz (also below lib/modules). No kernel, or
// kernels of more than one version, is an error of class fault.Input.
func Find(t *tree.Tree) (Kernel, error) {
	found := map[string]Kernel{}
	for _, candidate := range candidates(t) {
		if _, known := found[candidate.Version]; known {
			continue
		}
		n, err := t.Resolve(candidate.Path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Kernel{}, fmt.Errorf("finding the kernel: %w", err)
		}
		if !n.Inode.IsRegular() {
			continue
		}
		candidate.Image, candidate.Size = n.Inode.Content, n.Inode.Size
		found[candidate.Version] = candidate
	}
	k, err := only(found)
	if err != nil {
		return Kernel{}, err
	}
	return k, k.indexModules(t)
}

// candidates lists where kernels may be: boot first, as it is what boot loaders
// of a distribution start.
func candidates(t *tree.Tree) []Kernel {
	var list []Kernel
	if boot, err := t.Resolve("boot"); err == nil {
		for _, n := range boot.Children() {
			if v, ok := strings.CutPrefix(n.Name, "vmlinuz-"); ok && v != "" {
				list = append(list, Kernel{Version: v, Path: "boot/" + n.Name})
			}
		}
	}
	for _, base := range moduleDirs() {
		dir, err := t.Resolve(base)
		if err != nil {
			continue
		}
		for _, n := range dir.Children() {
			list = append(list, Kernel{Version: n.Name, Path: path.Join(base, n.Name, "vmlinuz")})
		}
	}
	return list
}

func moduleDirs() []string { return []string{"usr/lib/modules", "lib/modules"} }

func only(found map[string]Kernel) (Kernel, error) {
	switch len(found) {
	case 0:
		return Kernel{}, fault.Inputf("finding the kernel: neither boot/vmlinuz-<version> nor usr/lib/modules/<version>/vmlinuz exists").
			WithFix("name a kernel package in the definition, or install one in the root")
	case 1:
		for _, k := range found {
			return k, nil
		}
	}
	var paths []string
	for _, k := range found {
		paths = append(paths, k.Path)
	}
	slices.Sort(paths)
	return Kernel{}, fault.Inputf("finding the kernel: there are %d: %s", len(paths), strings.Join(paths, ", ")).
		WithFix("keep only one of them in the root, or name a kernel package in the definition")
}

// indexModules fills in where the modules are.
func (k *Kernel) indexModules(t *tree.Tree) error {
	k.modules = map[string]*fileNode{}
	for _, base := range moduleDirs() {
		dir, err := t.Resolve(path.Join(base, k.Version))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("finding the modules of kernel %q: %w", k.Version, err)
		}
		k.dir = dir
		k.index("", dir)
		return nil
	}
	return nil
}

func (k *Kernel) index(dir string, n *tree.Node) {
	for _, c := range n.Children() {
		p := path.Join(dir, c.Name)
		if c.Inode.IsDir() {
			k.index(p, c)
			continue
		}
		name, ok := moduleName(c.Name)
		if !ok || !c.Inode.IsRegular() {
			continue
		}
		// A module outside of kernel/ (updates/, extra/) takes precedence, as
		// in depmod.d(5).
		if old := k.modules[name]; old == nil || strings.HasPrefix(old.path, "kernel/") {
			k.modules[name] = &fileNode{path: p, inode: c.Inode}
		}
	}
}

// moduleName returns the canonical name for a file name, "dm_mod" for
// "dm-mod.ko.xz": the kernel and its tools take dashes for underscores.
func moduleName(file string) (string, bool) {
	for _, ext := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if name, ok := strings.CutSuffix(file, ext); ok && name != "" {
			return canonical(name), true
		}
	}
	return "", false
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }
