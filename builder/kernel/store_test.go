package kernel

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// TestModulesFromStore reads through the real store, and sees to it that a
// damaged object doesn't go unnoticed.
func TestModulesFromStore(t *testing.T) {
	dir := t.TempDir()
	objects, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	root := tree.New(0)
	put := func(name string, data []byte) {
		content, size, err := objects.Put(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Put(name, &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: size, Content: content}); err != nil {
			t.Fatal(err)
		}
	}
	modules := "usr/lib/modules/" + version + "/"
	put("boot/vmlinuz-"+version, []byte("kernel"))
	put(modules+"modules.builtin", []byte("kernel/fs/ext4/ext4.ko\n"))
	module := packXZ(t, fakeModule(t, "vermagic="+version))
	put(modules+"kernel/loop.ko.xz", module)

	k, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	wanted := Wanted{Required: []string{"ext4", "loop"}}
	list, err := k.Modules(context.Background(), objects, wanted)
	if err != nil || len(list) != 1 || list[0].Size != int64(len(module)) {
		t.Fatalf("got %+v, %v", list, err)
	}

	// The same module with other bytes behind the end of its data.
	err = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
		return os.WriteFile(path, append(module, 0, 0, 0, 0), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Modules(context.Background(), objects, wanted)
	if err == nil || !strings.Contains(err.Error(), "loop.ko.xz") {
		t.Errorf("damaged object: %v", err)
	}
}
