package finish

import (
	"slices"
	"testing"
)

func TestNameServices(t *testing.T) {
	base := "# comment: x\npasswd:         files\nhosts:          files dns\nnetworks:       files\n"
	lib := "usr/lib/x86_64-linux-gnu/"
	for name, x := range map[string]struct {
		libraries []string
		want      string
	}{
		"none":    {nil, base},
		"systemd": {[]string{"libnss_systemd.so.2"}, "# comment: x\npasswd:         files systemd\nhosts:          files dns\nnetworks:       files\n"},
		"all": {[]string{"libnss_systemd.so.2", "libnss_resolve.so.2", "libnss_mymachines.so.2", "libnss_myhostname.so.2"},
			"# comment: x\npasswd:         files systemd\nhosts:          files mymachines resolve [!UNAVAIL=return] myhostname dns\nnetworks:       files\n"},
	} {
		f := files{"usr/share/libc-bin/nsswitch.conf": base}
		for _, l := range x.libraries {
			f[lib+l] = "ELF"
		}
		r := newTree(t, f)
		if err := makeNameServices(t.Context(), r, input(t)); err != nil {
			t.Fatal(err)
		}
		if got := text(t, r, "etc/nsswitch.conf"); got != x.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestAlternatives(t *testing.T) {
	r := newTree(t, files{
		"usr/bin/more": "x", "usr/bin/less": "x", "usr/bin/mawk": "x", "bin": "->usr/bin",
		"usr/share/man/man1/less.1.gz": "x",
		"var/lib/dpkg/info/a.postinst": "#!/bin/sh\nif true; then\n  update-alternatives --quiet --install /usr/bin/pager pager \\\n    /usr/bin/less 77 --slave /usr/share/man/man1/pager.1.gz \\\n  pager.1.gz /usr/share/man/man1/less.1.gz\nfi\n",
		"var/lib/dpkg/info/b.postinst": "update-alternatives --install /usr/bin/pager pager /bin/more 50 --slave /usr/share/man/man1/pager.1.gz pager.1.gz /usr/share/man/man1/more.1.gz\n" +
			"update-alternatives --install /usr/bin/$x x /bin/more 5\nupdate-alternatives --install /usr/bin/gone gone /usr/bin/gone 5\n# update-alternatives --install /usr/bin/c c /bin/more 5\n",
	})
	if err := makeAlternatives(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	if got, want := links(t, r, "etc/alternatives"), []string{"pager -> /usr/bin/less", "pager.1.gz -> /usr/share/man/man1/less.1.gz"}; !slices.Equal(got, want) {
		t.Errorf("alternatives are %q, want %q", got, want)
	}
	expect(t, r, files{
		"usr/bin/pager":                   "->/etc/alternatives/pager",
		"usr/share/man/man1/pager.1.gz":   "->/etc/alternatives/pager.1.gz",
		"var/lib/dpkg/alternatives/pager": "auto\n/usr/bin/pager\npager.1.gz\n/usr/share/man/man1/pager.1.gz\n\n/usr/bin/less\n77\n/usr/share/man/man1/less.1.gz\n/bin/more\n50\n/usr/share/man/man1/more.1.gz\n\n",
	})
}

func FuzzParseAlternative(f *testing.F) {
	f.Add("update-alternatives --install /usr/bin/pager pager /bin/more 50 --slave /a b /c")
	f.Fuzz(func(t *testing.T, command string) {
		if a, ok := parseAlternative(command); ok && (a.link == "" || a.link[0] != '/') {
			t.Errorf("%q gave %+v", command, a)
		}
	})
}

func TestShells(t *testing.T) {
	r := newTree(t, files{
		"usr/share/debianutils/shells": "# comment\n/bin/sh\n", "usr/share/debianutils/shells.d/zsh": "/usr/bin/zsh\n/bin/gone\n",
		"bin": "->usr/bin", "usr/bin/sh": "x", "usr/bin/zsh": "x",
	})
	if err := makeShells(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{"etc/shells": "# /etc/shells: valid login shells\n/bin/sh\n/usr/bin/sh\n/usr/bin/zsh\n"})
}

func TestDefaults(t *testing.T) {
	r := newTree(t, files{"usr/share/openssh/sshd_config": "Port 22\n", "usr/share/base-files/motd": "hi\n", "usr/share/pam-configs/": "", "etc/motd": "mine\n"})
	if err := installDefaults(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{"etc/ssh/sshd_config": "Port 22\n", "etc/motd": "mine\n"})
	for name, want := range map[string]string{"etc/security/opasswd": "0600 0 0", "var/log/btmp": "0660 0 43"} {
		if got := mode(t, r, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if r.named("etc/subuid") {
		t.Error("a file of a package that isn't there was made")
	}
}

func TestIdentity(t *testing.T) {
	r := newTree(t, files{"usr/lib/systemd/systemd": "ELF", "usr/lib/systemd/systemd-resolved": "ELF", "usr/lib/systemd/systemd-journald": "ELF"})
	if err := makeIdentity(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{"etc/hostname": "demo\n", "etc/resolv.conf": "->../run/systemd/resolve/stub-resolv.conf"})
	if got := mode(t, r, "etc/machine-id"); got != "0444 0 0" {
		t.Errorf("machine-id is %s", got)
	}
	if !r.named("var/log/journal") {
		t.Error("the journal has no folder")
	}
}
