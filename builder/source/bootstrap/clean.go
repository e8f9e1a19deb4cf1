package bootstrap

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// noise are patterns (path.Match) of what an installation leaves behind and an
// image must not hold: what differs from one installation to the next, what
// tells of the build host, secrets that every machine has to make for itself,
// and what mmdebstrap put there for its own use.
var noise = []string{
	"dev/*", "proc/*", "run/*", "sys/*", "tmp/*", "var/tmp/*",
	"etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
	"etc/ssh/ssh_host_*", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "var/lib/urandom/*",
	"var/lib/dbus/machine-id",
	"etc/.pwd.lock", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
	"var/lib/dpkg/*-old", "var/lib/dpkg/lock*", "var/lib/dpkg/triggers/Lock",
	"var/cache/apt/*", "var/cache/debconf/*-old", "var/cache/ldconfig/*", "var/lib/apt/lists/*",
}

// Clean removes the noise from an installed root. Files that are as new as the
// installation (started, in seconds since 1970) or newer than epoch get epoch as
// their modification time.
func Clean(t *tree.Tree, s *store.Store, epoch, started int64) error {
	for _, pattern := range noise {
		for _, name := range glob(t.Root, pattern) {
			if err := t.Remove(name); err != nil {
				return fmt.Errorf("removing %q: %w", name, err)
			}
		}
	}
	c := cleaner{t, s, min(epoch, started-1)}
	for _, x := range []struct{ name, sign string }{
		// The local repository, and a table of nothing.
		{"etc/apt/sources.list", "deb [trusted=yes] copy:"}, {"etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n"},
	} {
		if err := c.removeOurs(x.name, x.sign); err != nil {
			return err
		}
	}
	if n, err := t.Lookup("etc/machine-id"); err == nil && n.Inode.IsRegular() {
		if err := c.emptyMachineID(); err != nil {
			return err
		}
	}
	if n, err := t.Lookup("var/log"); err == nil && n.Inode.IsDir() {
		if err := c.emptyLogs("var/log", n); err != nil {
			return err
		}
	}
	clampTimes(t, epoch, started)
	return nil
}

// glob returns the paths that a pattern fits, below real directories only.
func glob(dir *tree.Node, pattern string) []string {
	first, rest, deeper := strings.Cut(pattern, "/")
	var found []string
	for _, c := range dir.Children() {
		if ok, err := path.Match(first, c.Name); !ok || err != nil {
			continue
		}
		if !deeper {
			found = append(found, c.Name)
			continue
		}
		for _, below := range glob(c, rest) {
			found = append(found, c.Name+"/"+below)
		}
	}
	return found
}

type cleaner struct {
	t     *tree.Tree
	s     *store.Store
	mtime int64
}

// removeOurs removes a file that begins with a sign that mmdebstrap wrote it.
func (c cleaner) removeOurs(name, sign string) error {
	n, err := c.t.Lookup(name)
	if err != nil || !n.Inode.IsRegular() {
		return nil
	}
	r, err := c.s.Open(n.Inode.Content)
	if err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, int64(len(sign))))
	if err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if string(data) == sign {
		return c.t.Remove(name)
	}
	return nil
}

// emptyMachineID has every machine make an id of its own (machine-id(5)).
func (c cleaner) emptyMachineID() error {
	content, size, err := c.s.Put(strings.NewReader(""))
	if err != nil {
		return fmt.Errorf("emptying the machine id: %w", err)
	}
	return c.t.Put("etc/machine-id", &tree.Inode{Mode: tree.TypeRegular | 0o444, Mtime: c.mtime, Content: content, Size: size})
}

// emptyLogs removes logs that hold something, and keeps those that programs
// expect to be there.
func (c cleaner) emptyLogs(dir string, n *tree.Node) error {
	for _, child := range slices.Clone(n.Children()) {
		name := dir + "/" + child.Name
		switch {
		case child.Inode.IsDir():
			if err := c.emptyLogs(name, child); err != nil {
				return err
			}
		case child.Inode.IsRegular() && child.Inode.Size > 0:
			if err := c.t.Remove(name); err != nil {
				return fmt.Errorf("removing %q: %w", name, err)
			}
		}
	}
	return nil
}

// clampTimes gives what the installation made the time stamp of the build, also
// when that lies in the future.
func clampTimes(t *tree.Tree, epoch, started int64) {
	_ = t.Walk(func(_ string, n *tree.Node) error { // the callback never fails
		if n.Inode.Mtime >= started {
			n.Inode.Mtime, n.Inode.MtimeNsec = epoch, 0
		}
		return nil
	})
	source.Clamp(t, epoch)
}
