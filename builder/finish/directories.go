package finish

import (
	"context"
	"fmt"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

// made are the directories of the file system hierarchy that base-files' postinst
// makes.
var made = []struct {
	name string
	owned
}{
	{"mnt", owned{mode: 0o755}}, {"opt", owned{mode: 0o755}}, {"media", owned{mode: 0o755}},
	{"etc/opt", owned{mode: 0o755}}, {"var/opt", owned{mode: 0o755}},
	{"var/mail", owned{0o2775, 0, 8}}, // group mail
	{"usr/local/bin", owned{mode: 0o755}}, {"usr/local/etc", owned{mode: 0o755}}, {"usr/local/games", owned{mode: 0o755}},
	{"usr/local/include", owned{mode: 0o755}}, {"usr/local/lib", owned{mode: 0o755}}, {"usr/local/libexec", owned{mode: 0o755}},
	{"usr/local/sbin", owned{mode: 0o755}}, {"usr/local/share/man", owned{mode: 0o755}}, {"usr/local/src", owned{mode: 0o755}},
}

// moved are directories that people write to. In a root that is read-only but
// for /etc and /var they lie below /var, where OSTree systems keep them too.
var moved = []struct {
	name, to string
	mode     uint32
}{
	{"home", "var/home", 0o755}, {"root", "var/roothome", 0o700}, {"srv", "var/srv", 0o755},
}

// linked are symlinks that replace empty directories of the packages, or are
// missing.
var linked = []struct{ name, target string }{
	{"var/run", "/run"}, {"var/lock", "/run/lock"}, {"var/spool/mail", "../mail"},
	{"usr/local/man", "share/man"}, {"etc/mtab", "../proc/self/mounts"},
}

// makeDirectories completes the file system hierarchy as base-files does.
func makeDirectories(_ context.Context, r *root, _ Input) error {
	for _, m := range moved {
		if err := r.moveDir(m.name, m.to, m.mode); err != nil {
			return err
		}
	}
	for _, d := range made {
		if err := r.makeDir(d.name, d.owned); err != nil {
			return err
		}
	}
	for _, l := range linked {
		if n, err := r.tree.Lookup(l.name); err == nil && n.Inode.IsDir() {
			if len(n.Children()) > 0 {
				return fmt.Errorf("/%s must become a link to %s, but holds files: move them there", l.name, l.target)
			}
			if err := r.tree.Remove(l.name); err != nil {
				return err
			}
		}
		if err := r.link(l.name, l.target); err != nil {
			return err
		}
	}
	if r.has("etc/dpkg/origins/debian") {
		return r.link("etc/dpkg/origins/default", "debian")
	}
	return nil
}

// moveDir moves a directory with what it holds and leaves a symlink. A symlink
// that is there already stays.
func (r *root) moveDir(name, to string, mode uint32) error {
	n, err := r.tree.Lookup(name)
	if err == nil && !n.Inode.IsDir() {
		return nil
	}
	inode := tree.Inode{Mode: tree.TypeDir | mode, Mtime: r.mtime}
	if n != nil {
		inode.Mode, inode.UID, inode.GID = n.Inode.Mode, n.Inode.UID, n.Inode.GID
	}
	if err := r.makeDir(to, owned{inode.Mode &^ tree.TypeMask, inode.UID, inode.GID}); err != nil {
		return err
	}
	if n != nil {
		if err := r.copyBelow(n, to); err != nil {
			return err
		}
		if err := r.tree.Remove(name); err != nil {
			return err
		}
	}
	return r.link(name, to)
}

func (r *root) copyBelow(dir *tree.Node, to string) error {
	for _, c := range dir.Children() {
		inode := c.Inode
		if inode.IsDir() || inode.IsSymlink() {
			copied := tree.Inode{
				Mode: inode.Mode, UID: inode.UID, GID: inode.GID, Mtime: inode.Mtime, MtimeNsec: inode.MtimeNsec,
				Xattrs: inode.Xattrs, Target: strings.Clone(inode.Target),
			}
			inode = &copied
		}
		if err := r.tree.Put(to+"/"+c.Name, inode); err != nil {
			return err
		}
		if c.Inode.IsDir() {
			if err := r.copyBelow(c, to+"/"+c.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
