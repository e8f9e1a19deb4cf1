// Package files reads a kernel from files of the build host: the image, its
// modules and its device trees, as the kernel's own build leaves them.
//
// Only names and contents count. Owners, modes, times, extended attributes and
// hard links are those of an unpacked kernel package, so that a folder and an
// archive of it, under any user and umask, give the same kernel.
package files

import (
	"context"
	"fmt"
	"os"
	"path"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/kernel"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/archive"
	"github.com/powernode/bootsmith/builder/source/directory"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Source is a kernel in files.
type Source struct {
	// Image is the file with the kernel's image.
	Image string
	// Modules is a folder or tar archive with lib/modules/<version>, with
	// <version>, or with what such a folder holds; "": the kernel has none.
	Modules string
	// DeviceTrees is a folder or tar archive as `make dtbs_install` fills one;
	// "": none.
	DeviceTrees string
	// Version is the release; "": the name of the folder with the modules, or
	// what the image's header says where no folder has such a name.
	Version string
	Arch    arch.Arch
	Limits  source.Limits
}

// Pin returns a digest of the kernel, "sha256:<hex>".
func (f Source) Pin(ctx context.Context, s *store.Store, epoch int64) (string, error) {
	t, err := f.load(ctx, s, epoch)
	if err != nil {
		return "", err
	}
	return "sha256:" + source.Digest(t), nil
}

// Read returns a tree that is laid out like Debian's kernel packages, with the
// image in boot, the modules in usr/lib/modules and the device trees in
// usr/lib/linux-image-<version>. The files must still have the digest that Pin
// returned.
func (f Source) Read(ctx context.Context, s *store.Store, epoch int64, pin string) (*tree.Tree, error) {
	t, err := f.load(ctx, s, epoch)
	if err != nil {
		return nil, err
	}
	if "sha256:"+source.Digest(t) != pin {
		return nil, fault.Inputf("reading the kernel %q: its files have changed since the plan was made", f.Image).WithFix("build again")
	}
	return t, nil
}

func (f Source) load(ctx context.Context, s *store.Store, epoch int64) (*tree.Tree, error) {
	image, release, err := f.readImage(s)
	if err != nil {
		return nil, err
	}
	t, version := tree.New(epoch), f.Version
	if f.Modules != "" {
		modules, name, err := f.loadModules(ctx, s, release)
		if err != nil {
			return nil, err
		}
		version = name
		if err := lay(t, "usr/lib/modules/"+version, modules, epoch, isHostLink); err != nil {
			return nil, err
		}
	}
	if version == "" {
		version = release
	}
	switch {
	case version == "":
		return nil, fault.Inputf("reading the kernel image %q: its header tells no release", f.Image).WithFix("set kernel.files.version, or kernel.files.modules")
	case release != "" && release != version:
		return nil, fault.Inputf("reading the kernel image %q: it is of release %q, and not of %q", f.Image, release, version).
			WithFix("make kernel.files.image, modules and version name one kernel")
	}
	image.Mtime = epoch
	if err := t.Put("boot/vmlinuz-"+version, image); err != nil {
		return nil, err
	}
	if f.DeviceTrees == "" {
		return t, nil
	}
	trees, _, err := f.loadFolder(ctx, "device_trees", f.DeviceTrees, s)
	if err != nil {
		return nil, err
	}
	return t, lay(t, "usr/lib/linux-image-"+version, trees.Root, epoch, nil)
}

// readImage stores the image, after it was found to be one.
func (f Source) readImage(s *store.Store) (*tree.Inode, string, error) {
	const fix = "correct kernel.files.image"
	info, err := os.Stat(f.Image) // before opening: opening a fifo would wait
	if err != nil {
		return nil, "", fault.Inputf("reading the kernel image: %w", err).WithFix(fix)
	}
	if !info.Mode().IsRegular() {
		return nil, "", fault.Inputf("reading the kernel image %q: it is not a file", f.Image).WithFix(fix)
	}
	file, err := os.Open(f.Image)
	if err != nil {
		return nil, "", fault.Inputf("reading the kernel image: %w", err).WithFix(fix)
	}
	defer file.Close()
	image, release, err := kernel.ReadImage(file, f.Arch)
	if err != nil {
		return nil, "", fault.Default(fault.Input, fmt.Errorf("reading kernel.files.image %q: %w", f.Image, err))
	}
	content, size, err := s.Put(image)
	if err != nil {
		return nil, "", fault.Default(fault.Input, fmt.Errorf("reading kernel.files.image %q: %w", f.Image, err))
	}
	return &tree.Inode{Mode: tree.TypeRegular | 0o644, Content: content, Size: size}, release, nil
}

// loadFolder reads the folder or archive of a field.
func (f Source) loadFolder(ctx context.Context, field, name string, s *store.Store) (_ *tree.Tree, isFolder bool, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, false, fault.Inputf("reading kernel.files.%s: %w", field, err).WithFix("correct the path, or make the folder")
	}
	var t *tree.Tree
	if info.IsDir() {
		t, err = directory.Source{Path: name, Limits: f.Limits}.Load(ctx, s, 0)
	} else {
		t, err = f.unpack(ctx, name, info, s)
	}
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	if err != nil {
		return nil, false, source.Explain(fault.Input, fmt.Errorf("reading kernel.files.%s %q: %w", field, name, err), "correct kernel.files."+field)
	}
	return t, info.IsDir(), nil
}

func (f Source) unpack(ctx context.Context, name string, info os.FileInfo, s *store.Store) (*tree.Tree, error) {
	if !info.Mode().IsRegular() {
		return nil, fault.Inputf("it is neither a folder nor a tar archive")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return archive.Unpack(ctx, source.WithContext(ctx, file), s, 0, f.Limits)
}

// lay copies what a folder holds to a place in a tree. Names that skip (which may
// be nil) tells to leave out are left out.
func lay(t *tree.Tree, at string, from *tree.Node, epoch int64, skip func(*tree.Node) bool) error {
	n := tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: epoch}
	if err := t.Put(at, &n); err != nil {
		return err
	}
	for _, c := range from.Children() {
		if skip != nil && skip(c) {
			continue
		}
		name := path.Join(at, c.Name)
		inode := tree.Inode{Mode: c.Inode.Type() | 0o644, Mtime: epoch, Content: c.Inode.Content, Size: c.Inode.Size, Target: c.Inode.Target}
		var err error
		switch c.Inode.Type() {
		case tree.TypeDir:
			err = lay(t, name, c, epoch, nil)
		case tree.TypeSymlink:
			inode.Mode = tree.TypeSymlink | 0o777
			err = t.Put(name, &inode)
		case tree.TypeRegular:
			err = t.Put(name, &inode)
		default:
			err = fault.Inputf("reading the kernel's files: %q is neither a file, a folder nor a symlink", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
