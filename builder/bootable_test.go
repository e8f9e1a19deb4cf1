package builder

import (
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/tree"
)

// bootable returns a root with what init needs.
func bootable(t *testing.T) *tree.Tree {
	t.Helper()
	root := tree.New(0)
	for _, dir := range mountPoints {
		if err := root.Put(dir, &tree.Inode{Mode: tree.TypeDir | 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	for path, inode := range map[string]tree.Inode{
		"usr/sbin/real": {Mode: tree.TypeRegular | 0o755},
		"usr/sbin/init": {Mode: tree.TypeSymlink | 0o777, Target: "/usr/sbin/real"},
		"sbin":          {Mode: tree.TypeSymlink | 0o777, Target: "usr/sbin"},
		"usr/own":       {Mode: tree.TypeRegular | 0o700},
	} {
		if err := root.Put(path, &inode); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestBootable(t *testing.T) {
	for _, init := range []string{"", "/sbin/init", "/usr/own"} {
		if err := checkBootable(bootable(t), init); err != nil {
			t.Errorf("init=%s: %v", init, err)
		}
	}
	for name, x := range map[string]struct {
		change func(*tree.Tree) error
		init   string
		want   string
	}{
		"a mount point":  {func(r *tree.Tree) error { return r.Remove("dev") }, "", "without the directories /dev; make them"},
		"two of them":    {func(r *tree.Tree) error { return r.Put("sys", &tree.Inode{Mode: tree.TypeSymlink, Target: "run"}) }, "", "/sys"},
		"init":           {func(r *tree.Tree) error { return r.Remove("usr/sbin/init") }, "", "without an init: /sbin/init, nor /usr/sbin/init"},
		"the init named": {func(*tree.Tree) error { return nil }, "/bin/busybox", "/bin/busybox is no executable file; put an init"},
		"no program":     {func(r *tree.Tree) error { return r.Put("usr/sbin/real", &tree.Inode{Mode: tree.TypeRegular | 0o644}) }, "", "without an init"},
	} {
		root := bootable(t)
		if err := x.change(root); err != nil {
			t.Fatal(err)
		}
		if err := checkBootable(root, x.init); err == nil || !strings.Contains(err.Error(), x.want) || fault.ClassOf(err) != fault.Input {
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
	if _, err := Run(t.Context(), c, f, p, t.TempDir()); err == nil || !strings.Contains(err.Error(), "/bin/nothing is no executable file") {
		t.Errorf("got %v", err)
	}
}
