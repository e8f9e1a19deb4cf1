package families

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/internal/ocilayout"
)

const (
	modulesDir  = "usr/lib/modules"
	kargsFile   = "usr/lib/bootc/kargs.d/10-bootsmith.toml"
	prepareRoot = "usr/lib/ostree/prepare-root.conf"
	// ostreeTarget is where bootc wants /ostree to lead.
	ostreeTarget = "sysroot/ostree"
)

// bootLayer is the layer over the root with what bootc asks of an image (bootc
// 1.16: docs/src/bootc-images.md, crates/lib/src/lints.rs) and the root does
// not have. Directories of the root that come up again keep their metadata. It
// holds the few changes of the root as well that bootc wants.
type bootLayer struct {
	root *tree.Tree
	tree *tree.Tree
	// kernel is a layer of its own, with the initramfs. It stays the same until
	// one of them changes: its files have no time, and of its directories the
	// root or tree has the metadata.
	kernel   *tree.Tree
	contents layerContents
	mtime    int64
}

// newBootLayer collects the layer. A root that bootc would refuse is an error
// of class fault.Input.
func newBootLayer(in Input) (*bootLayer, error) {
	b := &bootLayer{root: in.Tree, tree: tree.New(in.Epoch.Unix()), kernel: tree.New(0), contents: layerContents{blobs: map[tree.Digest]Blob{}, store: in.Store}, mtime: in.Epoch.Unix()}
	if err := b.fill(in); err != nil {
		return nil, fmt.Errorf("making the image bootable by bootc: %w", err)
	}
	return b, nil
}

func (b *bootLayer) fill(in Input) error {
	top := *in.Tree.Root.Inode
	if err := b.tree.Put("", &top); err != nil {
		return err
	}
	if err := b.checkKernels(in.KernelVersion); err != nil {
		return err
	}
	for _, dir := range []string{"boot", "dev", "proc", "run", "sys", "sysroot", "var"} {
		if _, err := b.dir(dir, 0o755); err != nil {
			return err
		}
	}
	if _, err := b.dir("tmp", 0o1777); err != nil {
		return err
	}
	if err := b.link("ostree", ostreeTarget); err != nil {
		return err
	}
	if err := b.emptyBoot(); err != nil {
		return err
	}
	if err := b.linkVarRun(); err != nil {
		return err
	}
	kargs, err := kargsTOML(in.Cmdline)
	if err != nil {
		return err
	}
	kernel := path.Join(modulesDir, in.KernelVersion)
	return errors.Join(
		b.addKernel(path.Join(kernel, "vmlinuz"), in.Kernel),
		b.addInitramfs(path.Join(kernel, "initramfs.img"), in.Initramfs),
		b.addBytes(prepareRoot, []byte("[composefs]\nenabled = true\n")),
		b.addBytes(kargsFile, kargs),
		b.declareState(in.Store),
	)
}

// checkKernels refuses a root with a kernel of another version: bootc wants
// exactly one.
func (b *bootLayer) checkKernels(version string) error {
	modules, err := b.root.Resolve(modulesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range modules.Children() {
		if n.Name != version && n.Child("vmlinuz") != nil {
			return fault.Inputf("the root holds the kernel %q beside %q", n.Name, version).WithFix("remove one of them from the root")
		}
	}
	return nil
}

// dir makes sure that the image has a directory and returns its path without
// symbolic links.
func (b *bootLayer) dir(name string, mode uint32) (string, error) {
	if name == "." {
		return "", nil
	}
	parent, err := b.dir(path.Dir(name), 0o755)
	if err != nil {
		return "", err
	}
	name = path.Join(parent, path.Base(name))
	n, err := b.root.Resolve(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !b.has(name):
		return name, b.putNew(name, &tree.Inode{Mode: tree.TypeDir | mode, Mtime: b.mtime})
	case err != nil:
		return "", err
	case !n.Inode.IsDir():
		return "", fault.Inputf("/%s of the root is not a directory", name).WithFix("make it one")
	}
	return b.copyDirs(n)
}

// has tells whether the root has a name, be it a symbolic link to nowhere.
func (b *bootLayer) has(name string) bool {
	_, err := b.root.Lookup(name)
	return err == nil
}

// copyDirs repeats a directory of the root and those that lead to it, and
// returns its path.
func (b *bootLayer) copyDirs(n *tree.Node) (string, error) {
	name := b.root.PathOf(n)
	for i, c := range name + "/" {
		if c != '/' || i == 0 {
			continue
		}
		dir, err := b.root.Lookup(name[:i])
		if err != nil {
			return "", err
		}
		inode := *dir.Inode
		if err := b.tree.Put(name[:i], &inode); err != nil {
			return "", err
		}
	}
	return name, nil
}

// putNew adds a name unless the layer has it already.
func (b *bootLayer) putNew(name string, inode *tree.Inode) error {
	if _, err := b.tree.Lookup(name); err == nil {
		return nil
	}
	return b.tree.Put(name, inode)
}

// link adds a symbolic link; the root may have it, but no other file there.
func (b *bootLayer) link(name, target string) error {
	n, err := b.root.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return b.tree.Put(name, &tree.Inode{Mode: tree.TypeSymlink | 0o777, Mtime: b.mtime, Target: target})
	}
	if err == nil && n.Inode.Target != target {
		err = fault.Inputf("/%s of the root is not a symbolic link to %s", name, target).WithFix("remove it")
	}
	return err
}

// emptyBoot deletes what the root has in /boot, such as the kernel that the
// layer puts where bootc looks for it. Only EFI programs may stay there.
func (b *bootLayer) emptyBoot() error {
	boot, err := b.root.Resolve("boot")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range boot.Children() {
		if n.Name == "EFI" {
			continue
		}
		if err := b.addBytes(path.Join("boot", ocilayout.Whiteout(n.Name)), nil); err != nil {
			return err
		}
	}
	return nil
}

// linkVarRun makes /var/run a symbolic link where packages that were unpacked
// without their scripts left an empty directory.
func (b *bootLayer) linkVarRun() error {
	n, err := b.root.Lookup("var/run")
	if err != nil || !n.Inode.IsDir() || len(n.Children()) > 0 {
		return nil
	}
	return b.tree.Put("var/run", &tree.Inode{Mode: tree.TypeSymlink | 0o777, Mtime: b.mtime, Target: "../run"})
}

// addKernel puts the kernel into its own layer, or into this one where it must
// replace the root's.
func (b *bootLayer) addKernel(name string, content Blob) error {
	if b.has(name) {
		return b.replace(name, content)
	}
	dir, err := b.dir(path.Dir(name), 0o755)
	if err != nil {
		return err
	}
	inode, err := b.file(name, content)
	if err != nil {
		return err
	}
	inode.Mtime = 0
	// The parents are made with the file's time.
	return b.kernel.Put(path.Join(dir, path.Base(name)), inode)
}

// addInitramfs does the same, unless the root has one: that was made for bootc.
func (b *bootLayer) addInitramfs(name string, content Blob) error {
	if b.has(name) {
		return nil
	}
	return b.addKernel(name, content)
}

// replace puts a file into the layer.
func (b *bootLayer) replace(name string, content Blob) error {
	dir, err := b.dir(path.Dir(name), 0o755)
	if err != nil {
		return err
	}
	inode, err := b.file(name, content)
	if err != nil {
		return err
	}
	return b.tree.Put(path.Join(dir, path.Base(name)), inode)
}

// file describes a part of the build as a file.
func (b *bootLayer) file(name string, content Blob) (*tree.Inode, error) {
	sum, err := hex.DecodeString(content.SHA256)
	if err != nil || len(sum) != len(tree.Digest{}) {
		return nil, fmt.Errorf("adding %q: %q is not a SHA-256 digest", name, content.SHA256)
	}
	c := tree.Content{SHA256: tree.Digest(sum)}
	b.contents.blobs[c.SHA256] = content
	return &tree.Inode{Mode: tree.TypeRegular | 0o644, Mtime: b.mtime, Size: content.Size, Content: c}, nil
}

func (b *bootLayer) addBytes(name string, data []byte) error {
	if b.has(name) {
		return nil
	}
	dir, err := b.dir(path.Dir(name), 0o755)
	if err != nil {
		return err
	}
	return b.tree.Put(path.Join(dir, path.Base(name)),
		&tree.Inode{Mode: tree.TypeRegular | 0o644, Mtime: b.mtime, Size: int64(len(data)), Content: tree.Content{Inline: data}})
}

// layerContents opens the layer's files: parts of the build by their digests,
// small ones from memory, the root's own from the store.
type layerContents struct {
	blobs map[tree.Digest]Blob
	store *store.Store
}

// Open implements ocilayout.Opener.
func (c layerContents) Open(content tree.Content) (io.ReadCloser, error) {
	if blob, ok := c.blobs[content.SHA256]; ok {
		return blob.Open()
	}
	if content.Inline != nil {
		return io.NopCloser(bytes.NewReader(content.Inline)), nil
	}
	return c.store.Open(content)
}
