package finish

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// A root without a distribution's data stays as it is.
func TestRunDoesNothingWithoutData(t *testing.T) {
	r := newTree(t, files{"sbin/init": "#!", "etc/group": "root:x:0:\n"})
	if err := Run(t.Context(), r.tree, r.store, input(t)); err != nil {
		t.Fatal(err)
	}
	var paths []string
	r.tree.Walk(func(p string, n *tree.Node) error { paths = append(paths, p); return nil })
	if want := []string{"", "etc", "etc/group", "sbin", "sbin/init"}; !slices.Equal(paths, want) {
		t.Errorf("the root holds %q, want %q", paths, want)
	}
}

// debian is a small root with data for most steps.
func debian() files {
	return files{
		"home/": "", "root/": "", "var/run/": "", "var/lock/": "",
		"usr/share/base-files/profile":        "profile\n",
		"usr/share/base-passwd/passwd.master": "root:*:0:0:root:/root:/bin/bash\n",
		"usr/share/base-passwd/group.master":  "root:*:0:\nshadow:*:42:\n",
		"usr/lib/sysusers.d/a.conf":           "u alice-d - \"A daemon\"\n",
		"usr/lib/systemd/system/a.service":    "[Install]\nWantedBy=multi-user.target\n",
		"etc/systemd/system-preset/90.preset": "enable a.service\n",
		"usr/lib/systemd/systemd":             "ELF",
		"etc/ld.so.conf":                      "/usr/local/lib\n",
		"usr/share/libc-bin/nsswitch.conf":    "passwd: files\nhosts: files dns\n",
	}
}

// All steps together give the same tree every time, and running them again
// changes nothing.
func TestRunIsDeterministicAndIdempotent(t *testing.T) {
	first, second := newTree(t, debian()), newTree(t, debian())
	for _, r := range []*root{first, second, second} {
		if err := Run(t.Context(), r.tree, r.store, input(t)); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := dump(t, first), dump(t, second); !slices.Equal(a, b) {
		t.Errorf("first:\n%q\nsecond:\n%q", a, b)
	}
	expect(t, first, files{
		"etc/hostname": "demo\n", "etc/machine-id": "", "etc/locale.conf": "LANG=C.UTF-8\n",
		"etc/default/locale": "->../locale.conf", "home": "->var/home", "var/run": "->/run", "var/lock": "->/run/lock",
		"etc/systemd/system/multi-user.target.wants/a.service": "->/usr/lib/systemd/system/a.service",
	})
	if usr, _ := first.tree.Lookup("usr"); usr.Inode.Mtime != epoch {
		t.Errorf("/usr is of %d, newer than the stamp", usr.Inode.Mtime)
	}
}

func dump(t *testing.T, r *root) []string {
	t.Helper()
	var out []string
	err := r.tree.Walk(func(p string, n *tree.Node) error {
		line := p + " " + mode(t, r, p) + " " + n.Inode.Target
		if n.Inode.IsRegular() {
			line += text(t, r, p)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What the definition lays over the root wins over what the steps make.
func TestExistingFilesStay(t *testing.T) {
	f := debian()
	kept := files{"etc/hostname": "mine\n", "etc/machine-id": "0123\n", "etc/profile": "mine\n", "etc/nsswitch.conf": "mine\n", "etc/shadow": "mine\n"}
	for name, s := range kept {
		f[name] = s
	}
	r := newTree(t, f)
	if err := Run(t.Context(), r.tree, r.store, input(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r, kept)
}

// A root from elsewhere only gets the index of the modules that the build adds.
func TestForeignRoot(t *testing.T) {
	r := newTree(t, debian())
	in := input(t)
	in.State = Foreign
	if err := Run(t.Context(), r.tree, r.store, in); err != nil {
		t.Fatal(err)
	}
	if r.named("etc/hostname") || r.named("etc/passwd") {
		t.Error("a root from elsewhere was finished")
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := newTree(t, debian())
	if err := Run(ctx, r.tree, r.store, input(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDirectories(t *testing.T) {
	r := newTree(t, files{"root/.keep": "x", "root/dir/link": "->../.keep", "var/run/": "", "usr/share/base-files/": "", "etc/dpkg/origins/debian": "x"})
	n, _ := r.tree.Lookup("root")
	n.Inode.Mode = tree.TypeDir | 0o700
	if err := makeDirectories(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{
		"root": "->var/roothome", "root/.keep": "x", "var/roothome/dir/link": "->../.keep", "srv": "->var/srv",
		"var/run": "->/run", "etc/mtab": "->../proc/self/mounts", "etc/dpkg/origins/default": "->debian", "var/spool/mail": "->../mail",
	})
	for name, want := range map[string]string{"var/roothome": "0700 0 0", "var/home": "0755 0 0", "var/mail": "2775 0 8"} {
		if got := mode(t, r, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	r = newTree(t, files{"var/run/x": "x", "usr/share/base-files/": ""})
	if err := makeDirectories(t.Context(), r, input(t)); err == nil {
		t.Error("files below /var/run were dropped")
	}
}

func TestReadBounds(t *testing.T) {
	r := newTree(t, files{"f": "x", "d/": ""})
	if _, err := r.read("d"); err == nil {
		t.Error("a directory was read")
	}
	if _, err := r.read("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	n, _ := r.tree.Lookup("f")
	n.Inode.Size = maxText + 1
	if _, err := r.read("f"); err == nil {
		t.Error("a large file was read")
	}
}

var _ Store = (*store.Store)(nil)
