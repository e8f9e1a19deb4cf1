package files

import (
	"cmp"
	"context"
	"path/filepath"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// loadModules returns the folder with a kernel's modules and the kernel's
// release; release is what the image tells of it, or "".
func (f Source) loadModules(ctx context.Context, s *store.Store, release string) (*tree.Node, string, error) {
	t, isFolder, err := f.loadFolder(ctx, "modules", f.Modules, s)
	if err != nil {
		return nil, "", err
	}
	name := release
	if name == "" && isFolder {
		name = filepath.Base(f.Modules)
	}
	dir, version, err := f.findModules(t, name)
	if err == nil && !spec.IsRelease(version) {
		err = fault.Inputf("reading kernel.files.modules %q: %q is not a kernel's release", f.Modules, version).WithFix("set kernel.files.version")
	}
	return dir, version, err
}

// findModules looks for the folder of the wanted release, or the only one. The
// whole tree may be that folder; name is what its release is then.
func (f Source) findModules(t *tree.Tree, name string) (*tree.Node, string, error) {
	if holdsModules(t.Root) {
		return t.Root, cmp.Or(f.Version, name), nil
	}
	var found []*tree.Node
	for _, base := range []string{"usr/lib/modules", "lib/modules", ""} {
		if dir, err := t.Resolve(base); err == nil && len(found) == 0 {
			found = kernels(dir)
		}
	}
	var names []string
	for _, n := range found {
		if n.Name == f.Version || f.Version == "" && len(found) == 1 {
			return n, n.Name, nil
		}
		names = append(names, n.Name)
	}
	switch {
	case len(found) == 0:
		return nil, "", fault.Inputf("reading kernel.files.modules %q: it holds no kernel's modules", f.Modules).
			WithFix("name the folder <version> that make modules_install fills, or one that holds it, or lib/modules/<version>")
	case f.Version == "":
		return nil, "", fault.Inputf("reading kernel.files.modules %q: it holds those of %d kernels: %s", f.Modules, len(names), strings.Join(names, ", ")).
			WithFix("set kernel.files.version to one of them")
	}
	return nil, "", fault.Inputf("reading kernel.files.modules %q: it holds those of %s, and not of %q", f.Modules, strings.Join(names, ", "), f.Version).
		WithFix("correct kernel.files.version")
}

// kernels returns the folders in dir that hold modules.
func kernels(dir *tree.Node) []*tree.Node {
	var found []*tree.Node
	for _, n := range dir.Children() {
		if holdsModules(n) {
			found = append(found, n)
		}
	}
	return found
}

// holdsModules tells whether a folder is a kernel's: make modules_install puts
// these into it.
func holdsModules(n *tree.Node) bool {
	if kernel := n.Child("kernel"); kernel != nil && kernel.Inode.IsDir() {
		return true
	}
	for _, name := range []string{"modules.builtin", "modules.order"} {
		if c := n.Child(name); c != nil && c.Inode.IsRegular() {
			return true
		}
	}
	return false
}

// isHostLink tells the links to the folders in which the kernel was built.
func isHostLink(n *tree.Node) bool {
	return n.Inode.IsSymlink() && (n.Name == "build" || n.Name == "source")
}
