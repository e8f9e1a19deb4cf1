package finish

import (
	"slices"
	"strings"
	"testing"
)

func TestUnits(t *testing.T) {
	const dir = "usr/lib/systemd/system/"
	r := newTree(t, files{
		"usr/lib/systemd/system-preset/90-systemd.preset": "# comment\n; comment\nenable net.service\nenable getty@.service\ndisable debug*\nenable *.target\n",
		"etc/systemd/system-preset/10-mine.preset":        "disable unwanted.service\nenable mine.service\n",
		"usr/lib/systemd/system-preset/80-off.preset":     "garbage that isn't read\n",
		"etc/systemd/system-preset/80-off.preset":         "->/dev/null",
		dir + "net.service":                               "[Unit]\nWantedBy=no\n[Install]\nWantedBy=multi-user.target \\\n  other.target\nAlso=net.socket gone.service\nAlias=dbus-net.service\n",
		dir + "net.socket":                                "[Install]\nRequiredBy=sockets.target\nUpheldBy=net.service\nAlso=net.service\n",
		dir + "getty@.service":                            "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
		dir + "plain@.service":                            "[Install]\nWantedBy=getty.target\n",
		dir + "debug-shell.service":                       "[Install]\nWantedBy=sysinit.target\n",
		dir + "unwanted.service":                          "[Install]\nWantedBy=multi-user.target\n",
		dir + "reset.target":                              "[Install]\nWantedBy=a.target\nWantedBy=\nWantedBy=%p-b.target\n",
		dir + "ssh.service":                               "[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\n",
		dir + "ssh.socket":                                "[Install]\nWantedBy=sockets.target\n",
		dir + "static.service":                            "[Service]\nExecStart=x\n",
		dir + "unnamed.service":                           "[Install]\nWantedBy=multi-user.target\n",
		dir + "alias.service":                             "->net.service",
		"etc/systemd/system/mine.service":                 "[Install]\nWantedBy=multi-user.target\n",
		"usr/lib/systemd/user/agent.socket":               "[Install]\nWantedBy=sockets.target\n",
		"var/lib/dpkg/info/ssh.postinst": "\tif deb-systemd-helper --quiet was-enabled 'ssh.service'; then\n\t\tdeb-systemd-helper enable 'ssh.service' >/dev/null || true\nfi\n" +
			"if deb-systemd-helper debian-installed 'ssh.socket'; then\n  deb-systemd-helper enable 'ssh.socket' >/dev/null || true\nfi\ndeb-systemd-helper --user enable 'agent.socket' >/dev/null || true\ndeb-systemd-helper enable 'unwanted.service'\n",
	})
	if err := enableUnits(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dbus-net.service -> /" + dir + "net.service",
		"getty.target.wants/getty@tty1.service -> /" + dir + "getty@.service",
		"multi-user.target.wants/mine.service -> /etc/systemd/system/mine.service",
		"multi-user.target.wants/net.service -> /" + dir + "net.service",
		"multi-user.target.wants/ssh.service -> /" + dir + "ssh.service",
		"net.service.upholds/net.socket -> /" + dir + "net.socket",
		"other.target.wants/net.service -> /" + dir + "net.service",
		"reset-b.target.wants/reset.target -> /" + dir + "reset.target",
		"sockets.target.requires/net.socket -> /" + dir + "net.socket",
		"sshd.service -> /" + dir + "ssh.service",
	}
	if got := links(t, r, "etc/systemd/system"); !slices.Equal(got, want) {
		t.Errorf("links:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := links(t, r, "etc/systemd/user"); !slices.Equal(got, []string{"sockets.target.wants/agent.socket -> /usr/lib/systemd/user/agent.socket"}) {
		t.Errorf("links of users: %q", got)
	}
}

func TestMalformedPreset(t *testing.T) {
	r := newTree(t, files{"usr/lib/systemd/system-preset/a.preset": "enabel x.service\n"})
	if err := enableUnits(t.Context(), r, input(t)); err == nil || !strings.Contains(err.Error(), "a.preset") {
		t.Errorf("got %v", err)
	}
}

func TestExpand(t *testing.T) {
	if got := expand("%n %N %p %i %%", "a-b@c.service"); got != "a-b@c.service a-b@c a-b c %" {
		t.Errorf("got %q", got)
	}
}

func FuzzInstallSection(f *testing.F) {
	f.Add("[Install]\nWantedBy=a b\nAlias=\n")
	f.Fuzz(func(t *testing.T, text string) {
		for key, values := range installSection(text) {
			if len(values) == 0 {
				t.Errorf("key %q has no values", key)
			}
		}
	})
}
