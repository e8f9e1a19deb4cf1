package finish

import (
	"context"

	"github.com/powernode/bootsmith/builder/tree"
)

// makeIdentity names the machine. The machine-id file is empty: it is each
// machine's own, and systemd makes it at the first boot (machine-id(5)). It is
// not "uninitialized", as the first-boot wizard would then ask questions on the
// console.
func makeIdentity(_ context.Context, r *root, in Input) error {
	for _, f := range []struct{ name, text string }{
		{"etc/hostname", in.Hostname + "\n"},
		{"etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\t" + in.Hostname + "\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"},
		{"etc/locale.conf", "LANG=C.UTF-8\n"},
	} {
		if err := r.writeNew(f.name, f.text); err != nil {
			return err
		}
	}
	if err := r.link("etc/default/locale", "../locale.conf"); err != nil {
		return err
	}
	if r.has("usr/lib/systemd/systemd") && !r.named("etc/machine-id") {
		if err := r.write("etc/machine-id", nil, owned{mode: 0o444}); err != nil {
			return err
		}
	}
	if r.has("usr/lib/systemd/systemd-journald") {
		if err := r.makeDir("var/log/journal", owned{mode: 0o755}); err != nil {
			return err
		}
	}
	if r.has("usr/lib/systemd/systemd-resolved") {
		return r.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
	}
	return nil
}

// setID are programs whose group doesn't exist before the package is
// configured.
var setID = []struct {
	path, group string
	mode        uint32
}{
	{"usr/lib/dbus-1.0/dbus-daemon-launch-helper", "messagebus", 0o4754},
	{"usr/bin/ssh-agent", "_ssh", 0o2755},
}

// applySetID sets group and mode of such programs; a group that no package
// declares is made.
func applySetID(_ context.Context, r *root, _ Input) error {
	a, err := r.loadAccounts()
	if err != nil {
		return err
	}
	made := false
	for _, p := range setID {
		n, err := r.tree.Resolve(p.path)
		if err != nil || !n.Inode.IsRegular() || len(a.groups) == 0 {
			continue
		}
		if a.group(p.group) == nil {
			if err := addGroup(a, sysuser{name: p.group}); err != nil {
				return err
			}
			made = true
		}
		n.Inode.Mode = tree.TypeRegular | p.mode
		n.Inode.GID = a.group(p.group).gid
	}
	if !made {
		return nil
	}
	return a.save(r)
}

// makeKeysAtBoot lets a machine make its SSH host keys when it has none:
// openssh-server's postinst makes them, and its unit only runs at a first boot
// with the wizard. An image must not hold any.
func makeKeysAtBoot(_ context.Context, r *root, _ Input) error {
	return r.writeNew("etc/systemd/system/sshd-keygen.service.d/10-image.conf",
		"# The empty assignment takes back ConditionFirstBoot=; existing keys stay.\n[Unit]\nConditionFirstBoot=\nConditionPathIsReadWrite=/etc/ssh\n")
}

// stampUpdates tells systemd that /etc and /var are as new as /usr, so that no
// boot makes again what the steps have made (systemd-update-done.service(8)).
func stampUpdates(_ context.Context, r *root, _ Input) error {
	usr, err := r.tree.Resolve("usr")
	if err != nil {
		return err
	}
	usr.Inode.Mtime, usr.Inode.MtimeNsec = r.mtime, 0
	for _, dir := range []string{"etc", "var"} {
		if err := r.writeNew(dir+"/.updated", "# What depends on /usr was made with the image.\n"); err != nil {
			return err
		}
	}
	return nil
}
