package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/finish"
	"github.com/powernode/bootsmith/builder/initramfs"
	"github.com/powernode/bootsmith/builder/kernel"
	"github.com/powernode/bootsmith/builder/overlay"
	"github.com/powernode/bootsmith/builder/sbom"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/builder/uki"
	"github.com/powernode/bootsmith/families"
)

// finishRoot lays the overlay over the root, finishes what maintainer scripts
// would have done, and sets the permissions. What can't boot is an error.
func (b *targetBuild) finishRoot(ctx context.Context, t *tree.Tree) (*tree.Tree, error) {
	files, err := b.loadOverlay(ctx, b.overlayDir, b.plan.OverlayDigest)
	if err != nil {
		return nil, err
	}
	if err := files.Apply(t, b.plan.Epoch); err != nil {
		return nil, err
	}
	if err := finish.Run(ctx, t, b.config.Store, finish.Input{
		Arch: b.arch, Hostname: b.plan.Platform, Users: b.plan.Users, Epoch: b.plan.Epoch,
		State: b.rootState(), KeepKernels: b.target.bootsFromRoot(), Remember: b.config.remember,
	}); err != nil {
		return nil, err
	}
	if err := applyPermissions(t, b.file, b.plan.Permissions); err != nil {
		return nil, err
	}
	return t, b.checkBootable(t, b.target.init())
}

// unpackKernel unpacks the kernel and the EFI stub.
func (b *targetBuild) unpackKernel(ctx context.Context) (*tree.Tree, error) {
	t := tree.New(0)
	for _, p := range b.target.Packages.Boot() {
		if err := b.archive.UnpackInto(ctx, t, b.config.Store, p); err != nil {
			return nil, err
		}
	}
	return t, b.addKernelFiles(ctx, t)
}

// findKernel finds the kernel and looks at its image, so that every stage that
// needs one says the same of one that can't boot.
func (b *targetBuild) findKernel(t *tree.Tree) (kernel.Kernel, error) {
	k, err := kernel.Find(t)
	if err != nil {
		return k, err
	}
	r, err := k.OpenImage(b.config.Store, b.arch)
	if err != nil {
		return k, err
	}
	return k, r.Close()
}

// writeKernel finds the kernel and writes it to a file.
func (b *targetBuild) writeKernel(_ context.Context, t *tree.Tree) (kernelImage, error) {
	k, err := b.findKernel(t)
	if err != nil {
		return kernelImage{}, err
	}
	blob, err := b.writePart("vmlinuz", func(w io.Writer) error {
		r, err := k.OpenImage(b.config.Store, b.arch)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	})
	return kernelImage{Value: k.Version, blob: blob}, err
}

// writeRootImage writes root.img.
func (b *targetBuild) writeRootImage(ctx context.Context, t *tree.Tree) (rootImage, error) {
	ids, _ := b.ids()
	var img composefs.RootImage
	blob, err := b.writePart("root.img", func(w io.Writer) (err error) {
		img, err = composefs.WriteRootImage(ctx, w, t, b.config.Store, b.plan.time(), ids.rootImage.id("root file system"))
		return err
	})
	return rootImage{Value: img, blob: blob}, err
}

// writeInitramfs writes the initramfs with the modules that booting needs of the
// kernel in a tree.
func (b *targetBuild) writeInitramfs(ctx context.Context, t *tree.Tree) (plainPart, error) {
	k, err := b.findKernel(t)
	if err != nil {
		return plainPart{}, err
	}
	init, err := initramfs.InitFor(b.arch)
	if err != nil {
		return plainPart{}, err
	}
	modules, err := k.Modules(ctx, b.config.Store, b.wantedModules())
	if err != nil {
		return plainPart{}, b.noModule(err)
	}
	extra, err := b.initramfsFiles(ctx, modules)
	if err != nil {
		return plainPart{}, err
	}
	blob, err := b.writePart("initramfs.cpio.zst", func(w io.Writer) error {
		return initramfs.Write(ctx, w, initramfs.Input{Init: init, Modules: modules, Contents: b.config.Store, Extra: extra, Epoch: b.plan.time()})
	})
	return plainPart{blob: blob}, err
}

// noModule adds the field to an error about a module that the definition names.
func (b *targetBuild) noModule(err error) error {
	var missing *kernel.NoModuleError
	if errors.As(err, &missing) {
		if i := slices.Index(b.plan.Boot.Modules, missing.Module); i >= 0 {
			return b.file.Bad(fmt.Sprintf("initramfs.modules[%d]", i), "%v", err)
		}
	}
	return err
}

// cmdline returns the kernel parameters with the root's digests.
func (b *targetBuild) cmdline(img rootImage) string {
	return strings.Join(append(append([]string(nil), b.target.Cmdline...),
		fmt.Sprintf("composefs=%x", img.Value.Digest),
		fmt.Sprintf("bootsmith.roothash=%x", img.Value.RootHash),
		"bootsmith.rootblocks="+strconv.FormatInt(img.Value.DataBlocks, 10)), " ")
}

// makeUKI writes the unified kernel image, signed if somebody signs.
func (b *targetBuild) makeUKI(ctx context.Context, s *targetStages) (plainPart, error) {
	unsigned, err := b.writeUKI(ctx, s.unpackKernel.get(), s.finished.get(), s.kernel.get(), s.initramfs.get().blob, b.cmdline(s.image.get()))
	if err != nil {
		return plainPart{}, err
	}
	signed, err := b.signUKI(ctx, unsigned)
	return plainPart{blob: signed}, err
}

// writeUKI joins the stub, the kernel, the initramfs and the command line.
func (b *targetBuild) writeUKI(ctx context.Context, boot, root *tree.Tree, k kernelImage, initrd families.Blob, cmdline string) (families.Blob, error) {
	stub, err := b.findStub(boot, root)
	if err != nil {
		return families.Blob{}, err
	}
	release, err := b.osRelease(root)
	if err != nil {
		return families.Blob{}, err
	}
	program, err := b.readContent(stub.Inode.Content)
	if err != nil {
		return families.Blob{}, err
	}
	return b.writePart("uki.efi", func(w io.Writer) error {
		image, err := k.blob.Open()
		if err != nil {
			return err
		}
		defer image.Close()
		ramdisk, err := initrd.Open()
		if err != nil {
			return err
		}
		defer ramdisk.Close()
		return uki.Write(ctx, w, uki.Input{
			Stub:      program,
			OSRelease: string(release),
			Cmdline:   cmdline,
			Uname:     k.Value,
			Kernel:    uki.Blob{R: image, Size: k.blob.Size},
			Initramfs: uki.Blob{R: ramdisk, Size: initrd.Size},
		})
	})
}

// maxSmallFile bounds what is read into memory of a root's file, in bytes.
const maxSmallFile = 4 << 20

func (b *targetBuild) readContent(c tree.Content) ([]byte, error) {
	r, err := b.config.Store.Open(c)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxSmallFile+1))
	if err == nil && len(data) > maxSmallFile {
		err = fmt.Errorf("reading a file of the root: larger than %d bytes", maxSmallFile)
	}
	return data, err
}

// osRelease returns the root's os-release; a root without one is described by
// the platform's name.
func (b *targetBuild) osRelease(root *tree.Tree) ([]byte, error) {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		if n, err := root.Resolve(path); err == nil && n.Inode.IsRegular() {
			return b.readContent(n.Inode.Content)
		}
	}
	return fmt.Appendf(nil, "ID=%s\nNAME=%s\n", b.plan.Platform, b.plan.Platform), nil
}

// writeSBOM writes both documents into the staging folder.
func (b *targetBuild) writeSBOM(ctx context.Context, t *tree.Tree, names [2]string) (output, error) {
	sink := families.NewSink(b.staging)
	defer sink.Close()
	spdx, err := sink.Create()
	if err != nil {
		return output{}, err
	}
	cycloneDX, err := sink.Create()
	if err != nil {
		return output{}, err
	}
	subject := sbom.Subject{Name: b.plan.Platform, Version: b.plan.Revision, Arch: b.arch.Name, Tool: b.plan.Version, Epoch: b.plan.time()}
	for _, p := range b.target.undocumented() {
		subject.Beside = append(subject.Beside, sbom.Package{Name: p.Name, Version: p.Version, Arch: p.Arch})
	}
	if err := sbom.Write(ctx, t, b.config.Store, subject, spdx, cycloneDX); err != nil {
		return output{}, err
	}
	if _, err := spdx.Commit(names[0], "application/spdx+json"); err != nil {
		return output{}, err
	}
	_, err = cycloneDX.Commit(names[1], "application/vnd.cyclonedx+json")
	return newOutput(sink, ""), err
}

// loadOverlay reads a folder again and checks that it is still what was
// planned.
func (b *targetBuild) loadOverlay(ctx context.Context, dir, planned string) (overlay.Overlay, error) {
	o, err := overlay.Load(ctx, dir, b.config.Store)
	if err != nil {
		return nil, err
	}
	if o.Digest() != planned {
		return nil, fmt.Errorf("reading %q: the folder has changed since the plan was made", dir)
	}
	return o, nil
}

// writePart writes a file that several families share.
func (b *targetBuild) writePart(name string, write func(io.Writer) error) (families.Blob, error) {
	sink := families.NewSink(b.parts)
	defer sink.Close()
	f, err := sink.Create()
	if err != nil {
		return families.Blob{}, err
	}
	if err := write(f); err != nil {
		return families.Blob{}, fmt.Errorf("writing %s: %w", name, err)
	}
	a, err := f.Commit(name, "")
	if err != nil {
		return families.Blob{}, err
	}
	return families.Blob{Path: filepath.Join(b.parts, name), Size: a.Size, SHA256: a.SHA256}, nil
}

// scratchDir returns an empty folder of its own for a family.
func (b *targetBuild) scratchDir(family string) (string, error) {
	dir := filepath.Join(b.scratch, "family-"+family)
	return dir, os.Mkdir(dir, 0o700)
}
