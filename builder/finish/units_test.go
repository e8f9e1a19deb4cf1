package finish

import (
	"slices"
	"strings"
	"testing"
)

func TestUnits(t *testing.T) {
	const dir = "usr/lib/systemd/system/"
	r := newTree(t, files{
		"usr/lib/systemd/system-preset/90-systemd.preset":   "enable static.service\nenable unnamed.service\ndisable left-off.service\n",
		dir + "left-off.service":                            "[Install]\nWantedBy=multi-user.target\n",
		"var/lib/dpkg/info/left-off.postinst":               "\tdeb-systemd-helper enable 'left-off.service' >/dev/null || true\n",
		"usr/local/lib/systemd/system-preset/90-x.preset":   "# comment\n; comment\nenable net.service\nenable getty@.service\ndisable debug*\nenable *.target\ndisable serial@ttyS1.service\n",
		"etc/systemd/system-preset/10-mine.preset":          "disable unwanted.service\nenable mine.service\n",
		"usr/local/lib/systemd/system-preset/80-off.preset": "garbage that isn't read\n",
		"etc/systemd/system-preset/80-off.preset":           "->/dev/null",
		dir + "net.service":                                 "[Unit]\nWantedBy=no\n[Install]\nWantedBy=multi-user.target \\\n  other.target\nAlso=net.socket gone.service\nAlias=dbus-net.service\n",
		dir + "net.socket":                                  "[Install]\nRequiredBy=sockets.target\nUpheldBy=net.service\nAlso=net.service\n",
		dir + "getty@.service":                              "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
		dir + "serial@.service":                             "[Install]\nWantedBy=getty.target\nDefaultInstance=tty0\n",
		dir + "plain@.service":                              "[Install]\nWantedBy=getty.target\n",
		dir + "debug-shell.service":                         "[Install]\nWantedBy=sysinit.target\n",
		dir + "unwanted.service":                            "[Install]\nWantedBy=multi-user.target\n",
		dir + "reset.target":                                "[Install]\nWantedBy=a.target\nWantedBy=\nWantedBy=%p-b.target\n",
		dir + "ssh.service":                                 "[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\n",
		dir + "ssh.socket":                                  "[Install]\nWantedBy=sockets.target\n",
		dir + "static.service":                              "[Service]\nExecStart=x\n",
		dir + "unnamed.service":                             "[Install]\nWantedBy=multi-user.target\n",
		dir + "alias.service":                               "->net.service",
		"etc/systemd/system/mine.service":                   "[Install]\nWantedBy=multi-user.target\n",
		"usr/lib/systemd/user/agent.socket":                 "[Install]\nWantedBy=sockets.target\n",
		"var/lib/dpkg/info/ssh.postinst": "\tif deb-systemd-helper --quiet was-enabled 'ssh.service'; then\n\t\tdeb-systemd-helper enable 'ssh.service' >/dev/null || true\nfi\n" +
			"if deb-systemd-helper debian-installed 'ssh.socket'; then\n  deb-systemd-helper enable 'ssh.socket' >/dev/null || true\nfi\ndeb-systemd-helper --user enable 'agent.socket' >/dev/null || true\ndeb-systemd-helper enable 'unwanted.service'\n" +
			"if [ -z \"$2\" ]; then\n  systemctl ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} enable serial@ttyS0.service || true\n  systemctl enable serial@ttyS1.service\n  systemctl enable remote.target\n  _systemctl enable static.service\nfi\n",
		dir + "remote.target": "[Install]\nWantedBy=multi-user.target\n",
	})
	if err := enableUnits(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dbus-net.service -> /" + dir + "net.service",
		"getty.target.wants/getty@tty1.service -> /" + dir + "getty@.service",
		"getty.target.wants/serial@ttyS0.service -> /" + dir + "serial@.service",
		"multi-user.target.wants/mine.service -> /etc/systemd/system/mine.service",
		"multi-user.target.wants/net.service -> /" + dir + "net.service",
		"multi-user.target.wants/remote.target -> /" + dir + "remote.target",
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
	r := newTree(t, files{"etc/systemd/system-preset/a.preset": "enabel x.service\n"})
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

// After scripts have run, presets add and take away.
func TestPresetsAfterScripts(t *testing.T) {
	const dir, etc = "usr/lib/systemd/system/", "etc/systemd/system/"
	r := newTree(t, files{
		"etc/systemd/system-preset/10-mine.preset":        "enable on.service\ndisable off.service\ndisable tty@.service\ndisable masked.service\n",
		"usr/lib/systemd/system-preset/90-systemd.preset": "enable quiet.service\ndisable kept.service\n",
		dir + "on.service":                           "[Install]\nWantedBy=multi-user.target\n",
		dir + "off.service":                          "[Install]\nWantedBy=multi-user.target\nAlias=dbus-off.service\n",
		dir + "tty@.service":                         "[Install]\nWantedBy=getty.target\n",
		dir + "quiet.service":                        "[Install]\nWantedBy=multi-user.target\n",
		dir + "kept.service":                         "[Install]\nWantedBy=multi-user.target\n",
		dir + "masked.service":                       "[Install]\nWantedBy=multi-user.target\n",
		etc + "multi-user.target.wants/off.service":  "->/lib/systemd/system/off.service",
		etc + "multi-user.target.wants/kept.service": "->/" + dir + "kept.service",
		etc + "dbus-off.service":                     "->/" + dir + "off.service",
		etc + "getty.target.wants/tty@tty1.service":  "->/" + dir + "tty@.service",
		etc + "masked.service":                       "->/dev/null",
		"var/lib/dpkg/info/quiet.postinst":           "deb-systemd-helper enable 'quiet.service'\n",
	})
	in := input(t)
	in.State = Bootstrapped
	if err := enableUnits(t.Context(), r, in); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"masked.service -> /dev/null",
		"multi-user.target.wants/kept.service -> /" + dir + "kept.service",
		"multi-user.target.wants/on.service -> /" + dir + "on.service",
	}
	if got := links(t, r, "etc/systemd/system"); !slices.Equal(got, want) {
		t.Errorf("links:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
