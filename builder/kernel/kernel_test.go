package kernel

import (
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/tree"
)

func TestFindPlaces(t *testing.T) {
	for _, places := range [][]string{
		{"boot/vmlinuz-6.1"},
		{"usr/lib/modules/6.1/vmlinuz"},
		{"lib/modules/6.1/vmlinuz"},
		{"boot/vmlinuz-6.1", "usr/lib/modules/6.1/vmlinuz"},
		{"boot/vmlinuz-6.1", "usr/lib/modules/5.0/kernel/left-over.ko"},
	} {
		root, store := tree.New(0), newContents()
		for _, p := range places {
			store.put(t, root, p, []byte("the kernel"))
		}
		k, err := Find(root)
		if err != nil {
			t.Errorf("%q: %v", places, err)
			continue
		}
		if k.Version != "6.1" || k.Path != places[0] || k.Size != 10 {
			t.Errorf("%q: found version %q at %q, %d bytes", places, k.Version, k.Path, k.Size)
		}
	}
}

func TestFindFollowsLinks(t *testing.T) {
	root, store := tree.New(0), newContents()
	link := func(name, target string) {
		if err := root.Put(name, &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: target}); err != nil {
			t.Fatal(err)
		}
	}
	link("lib", "usr/lib")
	link("boot/vmlinuz-6.1", "../usr/lib/modules/6.1/vmlinuz")
	link("boot/vmlinuz-gone", "nowhere")
	link("vmlinuz", "boot/vmlinuz-6.1")
	store.put(t, root, "usr/lib/modules/6.1/vmlinuz", []byte("kernel"))
	k, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	if k.Version != "6.1" || k.Size != 6 {
		t.Errorf("found %+v", k)
	}
}

func TestFindErrors(t *testing.T) {
	_, err := Find(tree.New(0))
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "name a kernel package") {
		t.Errorf("no kernel: %v", err)
	}

	root, store := tree.New(0), newContents()
	store.put(t, root, "boot/vmlinuz-6.2", []byte("two"))
	store.put(t, root, "usr/lib/modules/6.1/vmlinuz", []byte("one"))
	_, err = Find(root)
	want := "there are 2: boot/vmlinuz-6.2, usr/lib/modules/6.1/vmlinuz"
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), want) {
		t.Errorf("two kernels: got %v, want it to say %q", err, want)
	}
}
