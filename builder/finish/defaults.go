package finish

import (
	"context"
	"path"
	"slices"
	"strings"
)

// defaults are configuration files that packages ship in /usr/share and install
// by script, as they are no conffiles.
var defaults = []struct{ from, to string }{
	{"usr/share/base-files/profile", "etc/profile"},
	{"usr/share/base-files/motd", "etc/motd"},
	{"usr/share/base-files/dot.profile", "root/.profile"},
	{"usr/share/base-files/dot.bashrc", "root/.bashrc"},
	{"usr/share/openssh/sshd_config", "etc/ssh/sshd_config"},
}

func installDefaults(_ context.Context, r *root, _ Input) error {
	for _, d := range defaults {
		n, err := r.tree.Resolve(d.from)
		if err != nil || r.named(d.to) {
			continue
		}
		inode := *n.Inode
		data, err := r.content(d.from, &inode)
		if err != nil {
			return err
		}
		if err := r.write(d.to, data, owned{mode: 0o644}); err != nil {
			return err
		}
	}
	return nil
}

// makeShells lists the login shells, as update-shells(8) does: the list that
// debianutils ships, and what packages add to it, under the names with and
// without /usr.
func makeShells(_ context.Context, r *root, _ Input) error {
	const dir = "usr/share/debianutils"
	list, err := r.lines(path.Join(dir, "shells"))
	if err != nil {
		return err
	}
	for _, name := range r.list(path.Join(dir, "shells.d"), "") {
		lines, err := r.lines(path.Join(dir, "shells.d", name))
		if err != nil {
			return err
		}
		for _, l := range lines {
			if !strings.HasPrefix(l, "/") {
				continue
			}
			for _, shell := range []string{l, strings.TrimPrefix(l, "/usr")} {
				if !slices.Contains(list, shell) {
					list = append(list, shell)
				}
			}
		}
	}
	return r.writeNew("etc/shells", strings.Join(list, "\n")+"\n")
}
