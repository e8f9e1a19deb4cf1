package builder

import (
	"context"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/tree"
)

// peImage is an EFI program for amd64, as far as its header says.
func peImage() string {
	b := make([]byte, 256)
	copy(b, "MZ")
	b[0x3c] = 0x80
	copy(b[0x80:], "PE\x00\x00\x64\x86")
	return string(b)
}

func kernelFiles() map[string]string {
	return map[string]string{
		"k-amd64": peImage(), "m/6.1/kernel/a.ko": "a", "m/6.1/modules.order": "kernel/a.ko\n", "dtbs/x.dtb": "x",
	}
}

const fromFiles = "architectures: [amd64]\nkernel: {files: {image: \"k-${arch}\", modules: m, device_trees: dtbs}}\n"

// A kernel in files boots, and its modules are where the definition wants them.
func TestKernelFiles(t *testing.T) {
	for _, place := range []string{spec.ModulesInRoot, spec.ModulesInInitramfs} {
		f := defineWith(t, strings.Replace(fromFiles, "dtbs}", "dtbs}, modules: "+place, 1), kernelFiles())
		c := testConfig(t)
		p := newTestPlan(t, c, Request{File: f, SourceDateEpoch: "1700000000"})
		target := p.Targets[0]
		if !strings.HasPrefix(target.KernelDigest, "sha256:") || len(target.Packages.Kernel) != 0 || len(target.Packages.Stub) != 1 || target.bootsFromRoot() {
			t.Errorf("the plan says %+v", target)
		}
		b, err := newTargetBuild(c, f, p, target, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		boot, err := b.unpackKernel(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k, err := b.writeKernel(t.Context(), boot)
		if err != nil || k.Value != "6.1" || k.blob.Size != 256 {
			t.Errorf("%+v, %v", k, err)
		}
		root, err := b.readRoot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]bool{
			"usr/lib/modules/6.1/kernel/a.ko": place == spec.ModulesInRoot, "boot/vmlinuz-6.1": false, "usr/lib/linux-image-6.1/x.dtb": false,
		} {
			if _, err := root.Lookup(path); (err == nil) != want {
				t.Errorf("modules in %s: %s: %v", place, path, err)
			}
		}
		if _, err := boot.Lookup("usr/lib/linux-image-6.1/x.dtb"); err != nil {
			t.Error(err)
		}
	}
}

// Each of the kernel's files is in the plan, and must not change before it is
// built.
func TestKernelFilesArePinned(t *testing.T) {
	files := kernelFiles()
	digest := func() string {
		return newTestPlan(t, testConfig(t), Request{File: defineWith(t, fromFiles, files), Revision: "0123456789"}).Digest()
	}
	first := digest()
	if digest() != first {
		t.Error("two plans of equal files differ")
	}
	for _, name := range []string{"k-amd64", "m/6.1/kernel/a.ko", "dtbs/x.dtb"} {
		old := files[name]
		files[name] = old + "changed"
		if digest() == first {
			t.Errorf("the plan doesn't tell that %s has changed", name)
		}
		files[name] = old
	}
}

func TestKernelFilesRefused(t *testing.T) {
	files := kernelFiles()
	files["k-amd64"] = strings.Replace(files["k-amd64"], "\x64\x86", "\x64\xaa", 1)
	_, err := NewPlan(context.Background(), testConfig(t), Request{File: defineWith(t, fromFiles, files)})
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "kernel.files.image") || !strings.Contains(err.Error(), "it is for arm64, not for amd64") {
		t.Errorf("got %v", err)
	}
}

// A directory of the root keeps its metadata, and its links are followed.
func TestPutAll(t *testing.T) {
	to, from := tree.New(1), tree.New(2)
	dir := &tree.Inode{Mode: tree.TypeDir | 0o700, Mtime: 5}
	for path, n := range map[string]*tree.Inode{"usr/lib": dir, "lib": {Mode: tree.TypeSymlink | 0o777, Target: "usr/lib"}} {
		if err := to.Put(path, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := from.Put("lib/a/b", &tree.Inode{Mode: tree.TypeFifo | 0o600}); err != nil {
		t.Fatal(err)
	}
	if err := putAll(to, from, ""); err != nil {
		t.Fatal(err)
	}
	if n, err := to.Lookup("usr/lib/a/b"); err != nil || n.Inode.Type() != tree.TypeFifo || dir.Mode != tree.TypeDir|0o700 {
		t.Errorf("%+v, %v", n, err)
	}
	if err := putAll(to, from, "nowhere"); err != nil {
		t.Error(err)
	}
}
