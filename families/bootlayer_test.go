package families

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/tree"
)

// TestOCIBootc checks what `bootc container lint` checks (bootc 1.16,
// crates/lib/src/lints.rs) on the layers together.
func TestOCIBootc(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"full":  func(*Input) {},
		"empty": func(in *Input) { in.Tree = tree.New(5) },
		"ready": func(in *Input) {
			for path, i := range map[string]tree.Inode{
				"ostree": {Mode: tree.TypeSymlink | 0o777, Target: "sysroot/ostree"},
				"var":    {Mode: tree.TypeDir | 0o700, UID: 5},
				"proc":   {Mode: tree.TypeDir | 0o555},
			} {
				if err := in.Tree.Put(path, &i); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := ociInput(t, "amd64")
			change(&in)
			_, dir := build(t, oci{}, in)
			merged := tree.New(0)
			for _, name := range layerNames(t, dir, "") {
				apply(t, merged, in.Store, filepath.Join(dir, name))
			}
			checkLint(t, in, merged)
			root := tree.New(0)
			for _, name := range layerNames(t, dir, "root") {
				apply(t, root, in.Store, filepath.Join(dir, name))
			}
			checkKept(t, root, merged)
		})
	}
}

func checkLint(t *testing.T, in Input, merged *tree.Tree) {
	t.Helper()
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "var", "sysroot", "boot"} {
		if n, err := merged.Lookup(dir); err != nil || !n.Inode.IsDir() {
			t.Errorf("/%s: %v", dir, err)
		}
	}
	for _, dir := range []string{"boot", "run", "tmp"} {
		if n, err := merged.Lookup(dir); err != nil || len(n.Children()) > 0 {
			t.Errorf("/%s is not empty (%v)", dir, err)
		}
	}
	if n, err := merged.Lookup("var/run"); err == nil && !n.Inode.IsSymlink() {
		t.Error("/var/run is not a symbolic link")
	}
	if n, err := merged.Lookup("ostree"); err != nil || n.Inode.Target != "sysroot/ostree" {
		t.Errorf("/ostree: %v", err)
	}
	if _, err := merged.Lookup("usr/etc"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("/usr/etc: %v", err)
	}
	if got := contentAt(t, in, merged, "usr/lib/ostree/prepare-root.conf"); got != "[composefs]\nenabled = true\n" {
		t.Errorf("prepare-root.conf: %q", got)
	}
	kargs, ok := strings.CutPrefix(contentAt(t, in, merged, kargsFile), "kargs = ")
	var list []string
	if err := json.Unmarshal([]byte(kargs), &list); err != nil || !ok {
		t.Errorf("%q: %v", kargs, err)
	}
	if want := `["console=ttyS0" "quiet" "dyndbg=\"file a.c +p\""]`; fmt.Sprintf("%q", list) != want {
		t.Errorf("kernel arguments %q, want %s", list, want)
	}
	modules, err := merged.Lookup("usr/lib/modules")
	if err != nil || len(modules.Children()) != 1 {
		t.Fatalf("/usr/lib/modules: %v", err)
	}
	dir := "usr/lib/modules/" + in.KernelVersion
	for name, blob := range map[string]Blob{"vmlinuz": in.Kernel, "initramfs.img": in.Initramfs} {
		if got := contentAt(t, in, merged, dir+"/"+name); got != string(readFile(t, blob.Path)) {
			t.Errorf("%s differs", name)
		}
	}
}

func contentAt(t *testing.T, in Input, from *tree.Tree, path string) string {
	t.Helper()
	n, err := from.Lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := in.Store.Open(n.Inode.Content)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// checkKept makes sure that the boot layer changed nothing of the root but what
// bootc asks for: without what it added and replaced, the image has the root's
// digest.
func checkKept(t *testing.T, root, merged *tree.Tree) {
	t.Helper()
	for _, path := range []string{"boot/grub", "var/run"} {
		_ = root.Remove(path)
		_ = merged.Remove(path)
	}
	if boot, err := root.Lookup("boot"); err == nil && len(boot.Children()) > 0 {
		if err := root.Remove("boot/" + boot.Children()[0].Name); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range added(root, merged) {
		if err := merged.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if digestOf(t, merged) != digestOf(t, root) {
		t.Error("below what was added, the image is not the root")
	}
}

// added lists the topmost names that only the image has.
func added(root, merged *tree.Tree) []string {
	var paths []string
	_ = merged.Walk(func(path string, _ *tree.Node) error {
		if _, err := root.Lookup(path); err == nil {
			return nil
		}
		paths = append(paths, path)
		return fs.SkipDir
	})
	return paths
}
