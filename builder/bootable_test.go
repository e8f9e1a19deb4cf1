package builder

import (
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// bootable returns a root with what init needs.
func bootable(t *testing.T, s *store.Store) *tree.Tree {
	t.Helper()
	root := tree.New(0)
	for _, dir := range mountPoints {
		if err := root.Put(dir, &tree.Inode{Mode: tree.TypeDir | 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	for path, inode := range map[string]tree.Inode{
		"usr/sbin/real": executable(t, s, elf64Little+strings.Repeat("\x00", 12)+"\x3e\x00"),
		"usr/sbin/init": {Mode: tree.TypeSymlink | 0o777, Target: "/usr/sbin/real"},
		"sbin":          {Mode: tree.TypeSymlink | 0o777, Target: "usr/sbin"},
		"usr/own":       executable(t, s, "#!/usr/sbin/real -x\n"),
	} {
		if err := root.Put(path, &inode); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func put(t *tree.Tree, path string, inode tree.Inode) error { return t.Put(path, &inode) }

// executable returns an executable file that begins with text.
func executable(t *testing.T, s *store.Store, text string) tree.Inode {
	t.Helper()
	content, size, err := s.Put(strings.NewReader(text + strings.Repeat("\x00", 300)))
	if err != nil {
		t.Fatal(err)
	}
	return tree.Inode{Mode: tree.TypeRegular | 0o755, Size: size, Content: content}
}

func TestBootable(t *testing.T) {
	c := testConfig(t)
	s := c.Store
	b := &targetBuild{planned: planned{arch: arch.All()[0]}, config: c}
	for _, init := range []string{"", "/sbin/init", "/usr/own"} {
		if err := b.checkBootable(bootable(t, s), init); err != nil {
			t.Errorf("init=%s: %v", init, err)
		}
	}
	// As at boot, the next one is taken instead of one that can't start.
	root := bootable(t, s)
	for path, text := range map[string]string{"usr/sbin/init": "#!/nowhere\n", "usr/lib/systemd/systemd": "init"} {
		if err := put(root, path, executable(t, s, text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.checkBootable(root, ""); err != nil {
		t.Errorf("with systemd beside a broken init: %v", err)
	}
	for name, x := range map[string]struct {
		change func(*tree.Tree) error
		init   string
		want   string
	}{
		"a mount point":  {func(r *tree.Tree) error { return r.Remove("dev") }, "", "without the directories /dev; make them"},
		"two of them":    {func(r *tree.Tree) error { return r.Put("sys", &tree.Inode{Mode: tree.TypeSymlink, Target: "run"}) }, "", "/sys"},
		"init":           {func(r *tree.Tree) error { return r.Remove("usr/sbin/init") }, "", "without an init: there is no executable file /sbin/init, nor /usr/sbin/init"},
		"the init named": {func(*tree.Tree) error { return nil }, "/bin/busybox", "no executable file /bin/busybox; put an init"},
		"no program":     {func(r *tree.Tree) error { return r.Put("usr/sbin/real", &tree.Inode{Mode: tree.TypeRegular | 0o644}) }, "", "without an init"},
		"no interpreter": {func(r *tree.Tree) error { return put(r, "usr/own", executable(t, s, "#! /bin/sh\n")) }, "/usr/own", "/usr/own needs /bin/sh, which is no"},
		"another CPU's": {func(r *tree.Tree) error {
			return put(r, "usr/sbin/real", executable(t, s, elf64Little+strings.Repeat("\x00", 12)+"\xb7\x00"))
		}, "", "/sbin/init is for arm64, not for amd64; give the root for amd64"},
		"another CPU's interpreter": {func(r *tree.Tree) error {
			return put(r, "usr/sbin/real", executable(t, s, elf64Little+strings.Repeat("\x00", 12)+"\x16\x00"))
		}, "/usr/own", "/usr/sbin/real is for another CPU (ELF machine 22)"},
	} {
		root := bootable(t, s)
		if err := x.change(root); err != nil {
			t.Fatal(err)
		}
		if err := b.checkBootable(root, x.init); err == nil || !strings.Contains(err.Error(), x.want) || fault.ClassOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A build of a root that can't boot fails, whatever an earlier one left in the
// cache.
func TestUnbootableRoot(t *testing.T) {
	s := newSmall(t)
	s.build(t, s.config(t, true))
	s.text += "cmdline: [init=/bin/nothing]\n"
	c := s.config(t, true)
	f, p := s.plan(t, c)
	if _, err := Run(t.Context(), c, f, p, t.TempDir()); err == nil || !strings.Contains(err.Error(), "no executable file /bin/nothing") {
		t.Errorf("got %v", err)
	}
}
