package finish

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
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

// empty are files that scripts make empty, and what they belong to.
var empty = []struct {
	name, needs string
	owned
}{
	{"etc/environment", "usr/share/pam-configs", owned{mode: 0o644}},
	{"etc/security/opasswd", "usr/share/pam-configs", owned{mode: 0o600}},
	{"etc/subuid", "usr/bin/passwd", owned{mode: 0o644}},
	{"etc/subgid", "usr/bin/passwd", owned{mode: 0o644}},
	{"var/log/wtmp", "usr/share/base-files", owned{0o664, 0, utmpGID}},
	{"var/log/btmp", "usr/share/base-files", owned{0o660, 0, utmpGID}},
	{"var/log/lastlog", "usr/share/base-files", owned{0o664, 0, utmpGID}},
}

// modes are files whose mode scripts set.
var modes = []struct {
	name string
	mode uint32
}{
	{"etc/sudoers", 0o440},
}

// utmpGID is the static group that records logins (base-passwd).
const utmpGID = 43

func installDefaults(_ context.Context, r *root, _ Input) error {
	for _, d := range defaults {
		n, err := r.tree.Resolve(d.from)
		if err != nil || r.named(d.to) {
			continue
		}
		data, err := r.content(d.from, n.Inode)
		if err != nil {
			return err
		}
		if err := r.write(d.to, data, owned{mode: 0o644}); err != nil {
			return err
		}
	}
	for _, e := range empty {
		if !r.has(e.needs) || r.named(e.name) {
			continue
		}
		if err := r.write(e.name, nil, e.owned); err != nil {
			return err
		}
	}
	for _, m := range modes {
		if n, err := r.tree.Lookup(m.name); err == nil && n.Inode.IsRegular() {
			n.Inode.Mode = tree.TypeRegular | m.mode
		}
	}
	return nil
}

// makeShells lists the login shells, as update-shells(8) does: those that
// debianutils ships, and what packages add to it, each also where it really is.
func makeShells(_ context.Context, r *root, _ Input) error {
	const dir = "usr/share/debianutils"
	files := []string{path.Join(dir, "shells")}
	for _, name := range r.list(path.Join(dir, "shells.d"), "") {
		files = append(files, path.Join(dir, "shells.d", name))
	}
	var list []string
	for _, file := range files {
		lines, err := r.lines(file)
		if err != nil {
			return err
		}
		for _, l := range lines {
			if !strings.HasPrefix(l, "/") {
				continue
			}
			short := strings.TrimPrefix(l, "/usr")
			for _, shell := range []string{l, "/usr" + short} {
				if !slices.Contains(list, shell) && r.has(shell) {
					list = append(list, shell)
				}
			}
		}
	}
	return r.writeNew("etc/shells", "# /etc/shells: valid login shells\n"+strings.Join(list, "\n")+"\n")
}
