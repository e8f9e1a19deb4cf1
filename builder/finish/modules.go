package finish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/powernode/bootsmith/builder/kernel/depmod"
	"github.com/powernode/bootsmith/builder/tree"
)

// indexVersion is part of a cached index's key: it changes when the same modules
// give other files.
const indexVersion = 1

// indexModules writes modprobe's files for every kernel that has modules in the
// root. The image of such a kernel is left out unless it is started from here.
func indexModules(ctx context.Context, r *root, in Input) error {
	dir, err := r.tree.Resolve("usr/lib/modules")
	if err != nil {
		return err
	}
	for _, n := range dir.Children() {
		if !n.Inode.IsDir() {
			continue
		}
		if err := r.indexKernel(ctx, n, in); err != nil {
			return fmt.Errorf("kernel %q: %w", n.Name, err)
		}
		if in.KeepKernels {
			continue
		}
		for _, file := range []string{"boot/vmlinuz-" + n.Name, "boot/System.map-" + n.Name} {
			if !r.named(file) {
				continue
			}
			if err := r.tree.Remove(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// moduleFile is a module in the tree.
type moduleFile struct {
	path  string // relative to the kernel's folder
	inode *tree.Inode
}

func (r *root) indexKernel(ctx context.Context, dir *tree.Node, in Input) error {
	files := moduleFiles("", dir)
	if len(files) == 0 || dir.Child("modules.dep.bin") != nil {
		return nil
	}
	base := path.Join("usr/lib/modules", dir.Name)
	shipped, err := r.shipped(base)
	if err != nil {
		return err
	}
	compute := func() ([]byte, error) {
		modules, err := r.readModules(ctx, files)
		if err != nil {
			return nil, err
		}
		made, err := depmod.Files(modules, shipped)
		if err != nil {
			return nil, err
		}
		return json.Marshal(made)
	}
	remember := in.Remember
	if remember == nil {
		remember = func(_ string, compute func() ([]byte, error)) ([]byte, error) { return compute() }
	}
	data, err := remember(indexKey(files, shipped), compute)
	if err != nil {
		return err
	}
	var made []depmod.File
	if err := json.Unmarshal(data, &made); err != nil {
		return err
	}
	for _, f := range made {
		if err := r.write(path.Join(base, f.Name), f.Data, owned{mode: 0o644}); err != nil {
			return err
		}
	}
	return nil
}

// moduleFiles returns the modules below a directory in bytewise order.
func moduleFiles(at string, n *tree.Node) []moduleFile {
	var files []moduleFile
	for _, c := range n.Children() {
		p := path.Join(at, c.Name)
		switch {
		case c.Inode.IsDir():
			files = append(files, moduleFiles(p, c)...)
		case c.Inode.IsRegular() && isModule(c.Name):
			files = append(files, moduleFile{p, c.Inode})
		}
	}
	return files
}

func isModule(name string) bool {
	for _, ext := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if strings.HasSuffix(name, ext) {
			return true
		}
	}
	return false
}

func (r *root) shipped(base string) (depmod.Shipped, error) {
	var s depmod.Shipped
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{"modules.order", &s.Order}, {"modules.builtin", &s.Builtin}, {"modules.builtin.modinfo", &s.BuiltinModinfo}} {
		name := path.Join(base, f.name)
		if !r.has(name) {
			continue
		}
		var err error
		if *f.to, err = r.read(name); err != nil {
			return s, err
		}
	}
	return s, nil
}

// indexKey names everything that the index is made from.
func indexKey(files []moduleFile, shipped depmod.Shipped) string {
	sum := sha256.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%q %x\n", f.path, f.inode.Content.SHA256)
	}
	for _, part := range [][]byte{shipped.Order, shipped.Builtin, shipped.BuiltinModinfo} {
		fmt.Fprintf(sum, "%x\n", sha256.Sum256(part))
	}
	return fmt.Sprintf("module index v%d %s", indexVersion, hex.EncodeToString(sum.Sum(nil)))
}

// readModules reads the modules on all cores: thousands of compressed files.
func (r *root) readModules(ctx context.Context, files []moduleFile) ([]depmod.Module, error) {
	modules := make([]depmod.Module, len(files))
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			var reader depmod.Reader
			for i := next.Add(1) - 1; i < int64(len(files)); i = next.Add(1) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				var err error
				if modules[i], err = r.readModule(&reader, files[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return modules, group.Wait()
}

func (r *root) readModule(reader *depmod.Reader, file moduleFile) (depmod.Module, error) {
	f, err := r.store.Open(file.inode.Content)
	if err != nil {
		return depmod.Module{}, err
	}
	defer f.Close()
	return reader.Read(f, file.path)
}
