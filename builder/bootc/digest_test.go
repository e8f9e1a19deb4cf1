package bootc

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/tree"
)

func objects(c tree.Content) (d [64]byte, err error) {
	copy(d[:], c.Verity[:])
	return d, nil
}

// sealedTree is a small root, and the same as bootc sees it.
func sealedTree(t *testing.T, seen bool) *tree.Tree {
	t.Helper()
	root := tree.New(1)
	put := func(name string, i tree.Inode) {
		t.Helper()
		if err := root.Put(name, &i); err != nil {
			t.Fatal(err)
		}
	}
	capability := map[string]string{"security.capability": "cap"}
	all := map[string]string{"security.capability": "cap", "user.x": "1", "security.selinux": "label", "trusted.overlay.opaque": "y"}
	file := tree.Inode{Mode: tree.TypeRegular | 0o755, Mtime: 9, Size: 1000, Content: tree.Content{Verity: tree.Digest{7}}, Xattrs: all}
	if seen {
		file.Xattrs = capability
		put("", tree.Inode{Mode: tree.TypeDir | 0o711, UID: 3, Mtime: 50, MtimeNsec: 5})
		put("run", tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: 50, MtimeNsec: 5})
		put("boot", tree.Inode{Mode: tree.TypeDir | 0o700, Mtime: 50, MtimeNsec: 2})
		put("sysroot", tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: 50})
		put("usr", tree.Inode{Mode: tree.TypeDir | 0o711, UID: 3, Mtime: 50, MtimeNsec: 5})
	} else {
		put("", tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: 1, Xattrs: all})
		put("run", tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: 2})
		put("run/left/over", file)
		put("boot", tree.Inode{Mode: tree.TypeDir | 0o700, Mtime: 3, MtimeNsec: 2})
		put("boot/EFI/Linux/x.efi", file)
		put("sysroot", tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: 4})
		put("usr", tree.Inode{Mode: tree.TypeDir | 0o711, UID: 3, Mtime: 50, MtimeNsec: 5, Xattrs: map[string]string{"user.y": "2"}})
	}
	put("usr/bin", tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: 8})
	put("usr/bin/file", file)
	if err := root.Link("usr/bin/file", "usr/bin/link"); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestDigest(t *testing.T) {
	got, err := Digest(sealedTree(t, false), objects)
	if err != nil {
		t.Fatal(err)
	}
	want, err := composefs.WriteImage512(io.Discard, sealedTree(t, true), objects)
	if err != nil || got != want {
		t.Errorf("%x, want %x (%v)", got, want, err)
	}
	before := sealedTree(t, false)
	if _, err := Digest(before, objects); err != nil {
		t.Fatal(err)
	}
	if n, err := before.Lookup("run/left/over"); err != nil || len(n.Inode.Xattrs) != 4 {
		t.Errorf("the root was changed: %v", err)
	}
}

func TestDigestRefuses(t *testing.T) {
	for _, name := range []string{"usr", "boot", "sysroot"} {
		root := sealedTree(t, false)
		if err := root.Remove(name); err != nil {
			t.Fatal(err)
		}
		if _, err := Digest(root, objects); err == nil {
			t.Errorf("a root without /%s is accepted", name)
		}
		if err := root.Put(name, &tree.Inode{Mode: tree.TypeSymlink, Target: "run"}); err != nil {
			t.Fatal(err)
		}
		if _, err := Digest(root, objects); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("/%s as a link: %v", name, err)
		}
	}
	root := sealedTree(t, false)
	if err := root.Put("etc/selinux/config", &tree.Inode{Mode: tree.TypeRegular}); err != nil {
		t.Fatal(err)
	}
	if _, err := Digest(root, objects); !errors.Is(err, ErrPolicy) {
		t.Errorf("a policy: %v", err)
	}
}
