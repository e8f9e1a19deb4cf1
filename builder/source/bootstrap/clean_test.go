package bootstrap

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

func put(t *testing.T, root *tree.Tree, s *store.Store, name, text string, mtime int64) {
	t.Helper()
	inode := &tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: mtime}
	if clean, dir := strings.CutSuffix(name, "/"); dir {
		name = clean
	} else {
		c, size, err := s.Put(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		inode = &tree.Inode{Mode: tree.TypeRegular | 0o640, GID: 4, Mtime: mtime, Content: c, Size: size}
	}
	if err := root.Put(name, inode); err != nil {
		t.Fatal(err)
	}
}

func TestClean(t *testing.T) {
	const started = epoch + 100
	root, s := tree.New(epoch), newStore(t)
	gone := []string{
		"dev/null", "run/lock/x", "tmp/x", "proc/x", "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/passwd-", "etc/.pwd.lock",
		"var/lib/dpkg/status-old", "var/lib/dpkg/lock-frontend", "var/cache/apt/pkgcache.bin", "var/cache/debconf/config.dat-old",
		"var/lib/apt/lists/partial/x", "var/log/dpkg.log", "var/log/apt/term.log", "var/lib/systemd/random-seed", "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
	}
	kept := []string{"etc/ssh/sshd_config", "etc/passwd", "var/lib/dpkg/status", "var/cache/debconf/config.dat", "usr/bin/x"}
	for _, name := range append(slices.Clone(gone), kept...) {
		put(t, root, s, name, "something", started+5)
	}
	put(t, root, s, "usr/bin/old", "x", 7)
	put(t, root, s, "var/log/btmp", "", 7)
	put(t, root, s, "etc/machine-id", "0123\n", started)
	put(t, root, s, "etc/apt/sources.list", "deb [trusted=yes] copy:/tmp/x ./\n", started)
	put(t, root, s, "etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n", started)
	if err := root.Put("var/run", &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "/usr"}); err != nil {
		t.Fatal(err)
	}
	if err := Clean(root, s, epoch, started); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(gone, "etc/apt/sources.list", "etc/fstab") {
		if _, err := root.Lookup(name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range append(kept, "var/log/btmp", "dev", "run", "tmp", "var/log/apt", "var/cache/apt") {
		n, err := root.Lookup(name)
		if err != nil {
			t.Error(err)
		} else if n.Inode.Mtime > epoch {
			t.Errorf("%s is of %d", name, n.Inode.Mtime)
		}
	}
	if n, _ := root.Lookup("usr/bin/old"); n.Inode.Mtime != 7 {
		t.Errorf("an old file is of %d", n.Inode.Mtime)
	}
	if n, err := root.Lookup("etc/machine-id"); err != nil || n.Inode.Size != 0 || n.Inode.Mode != tree.TypeRegular|0o444 || n.Inode.GID != 0 {
		t.Errorf("machine-id: %+v %v", n, err)
	}
}

// What the definition or a hook wrote stays, whatever its name.
func TestCleanKeepsOthers(t *testing.T) {
	root, s := tree.New(epoch), newStore(t)
	texts := map[string]string{"etc/apt/sources.list": "deb http://mirror.example.org/debian trixie main\n", "etc/fstab": "/dev/vda1 / ext4\n"}
	for name, text := range texts {
		put(t, root, s, name, text, 7)
	}
	if err := Clean(root, s, epoch, epoch); err != nil {
		t.Fatal(err)
	}
	for name, want := range texts {
		n, err := root.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(n.Inode.Content)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
		r.Close()
	}
}

// A time stamp in the future makes the same root as it will make then.
func TestCleanInTheFuture(t *testing.T) {
	const started = epoch - 1000
	root, s := tree.New(started), newStore(t)
	put(t, root, s, "new", "x", started+3)
	put(t, root, s, "old", "x", 7)
	if err := Clean(root, s, epoch, started); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"new": epoch, "old": 7} {
		if n, err := root.Lookup(name); err != nil || n.Inode.Mtime != want {
			t.Errorf("%s: %+v %v", name, n, err)
		}
	}
}
