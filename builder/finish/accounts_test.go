package finish

import (
	"fmt"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
)

const (
	masterPasswd = "root:*:0:0:root:/root:/bin/bash\ndaemon:*:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
	masterGroup  = "root:*:0:\ndaemon:*:1:\nadm:*:4:\nshadow:*:42:\nnogroup:*:65534:\n"
)

func withBase(t *testing.T, more files) *root {
	t.Helper()
	f := files{"usr/share/base-passwd/passwd.master": masterPasswd, "usr/share/base-passwd/group.master": masterGroup, "bin/bash": "ELF"}
	for name, text := range more {
		f[name] = text
	}
	r := newTree(t, f)
	if err := makeBaseAccounts(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBaseAccounts(t *testing.T) {
	r := withBase(t, nil)
	expect(t, r, files{
		"etc/passwd": strings.ReplaceAll(masterPasswd, ":*:", ":x:"),
		"etc/group":  strings.ReplaceAll(masterGroup, ":*:", ":x:"),
	})
	r = newTree(t, files{"etc/passwd": "me:x:0:0:::\n", "usr/share/base-passwd/passwd.master": masterPasswd})
	if err := makeBaseAccounts(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{"etc/passwd": "me:x:0:0:::\n"})
}

func TestSystemAccounts(t *testing.T) {
	r := withBase(t, files{
		"usr/lib/sysusers.d/b.conf": "# comment\ng adm 4 -\ng render - -\nu! net - \"Network Management\"\nu sshd -:nogroup 'sshd user' /run/sshd\nu lp 7 - /var/spool/lpd\nm net render\nr - 500-900\n",
		"usr/lib/sysusers.d/a.conf": "u hidden -\n",
		"etc/sysusers.d/a.conf":     "->/dev/null",
		"usr/lib/sysusers.d/c.conf": "u tss 59:60 - / /bin/sh\n",
	})
	r.tree.Remove("usr/lib/sysusers.d/c.conf")
	if err := makeSystemAccounts(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	a, err := r.loadAccounts()
	if err != nil {
		t.Fatal(err)
	}
	net := a.user("net")
	if net == nil || net.gecos != "Network Management" || net.dir != "/" || net.shell != "/usr/sbin/nologin" || net.uid != net.gid || net.uid < 100 || net.uid > 999 {
		t.Errorf("net is %+v", net)
	}
	if u := a.user("sshd"); u == nil || u.gid != 65534 || u.dir != "/run/sshd" || u.gecos != "sshd user" {
		t.Errorf("sshd is %+v", u)
	}
	if u := a.user("lp"); u == nil || u.uid != 7 || u.gid != 7 {
		t.Errorf("lp is %+v", u)
	}
	if a.user("hidden") != nil {
		t.Error("a masked file was read")
	}
	if g := a.group("render"); g == nil || strings.Join(g.members, " ") != "net" {
		t.Errorf("render is %+v", g)
	}
}

// A further package leaves the ids of others alone.
func TestIdsDontDependOnOtherPackages(t *testing.T) {
	ids := func(lines string) string {
		r := withBase(t, files{"usr/lib/sysusers.d/x.conf": lines})
		if err := makeSystemAccounts(t.Context(), r, input(t)); err != nil {
			t.Fatal(err)
		}
		a, err := r.loadAccounts()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(a.user("polkitd").uid, a.user("sshd").uid)
	}
	if a, b := ids("u polkitd -\nu sshd -\n"), ids("u another -\nu sshd -\nu one -\nu polkitd -\n"); a != b {
		t.Errorf("ids %s became %s", a, b)
	}
}

// An id that another package asks for isn't given away before.
func TestIdsThatOthersAskFor(t *testing.T) {
	first := &accounts{}
	id, err := first.freeID("dynamic")
	if err != nil {
		t.Fatal(err)
	}
	r := withBase(t, files{"usr/lib/sysusers.d/x.conf": fmt.Sprintf("u dynamic -\nu static %d\n", id)})
	if err := makeSystemAccounts(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	a, err := r.loadAccounts()
	if err != nil {
		t.Fatal(err)
	}
	if a.user("static").uid != id || a.user("dynamic").uid == id {
		t.Errorf("static is %d, dynamic %d, want %d for static", a.user("static").uid, a.user("dynamic").uid, id)
	}
}

func TestFreeIDs(t *testing.T) {
	a := &accounts{}
	for n := range lastSystemID - firstSystemID + 1 {
		id, err := a.freeID(fmt.Sprint("user", n))
		if err != nil || a.hasUID(id) {
			t.Fatalf("user %d got %d, %v", n, id, err)
		}
		a.users = append(a.users, user{uid: id})
	}
	if _, err := a.freeID("more"); err == nil {
		t.Error("an id was found where all are taken")
	}
}

func TestMalformedAccounts(t *testing.T) {
	for name, f := range map[string]files{
		"fields":      {"etc/passwd": "root:x:0\n"},
		"uid":         {"etc/passwd": "root:x:-1:0:::\n"},
		"gid":         {"etc/passwd": "root:x:0:4294967295:::\n"},
		"group":       {"etc/passwd": "", "etc/group": "root\n"},
		"group's gid": {"etc/passwd": "", "etc/group": "root:x:z:\n"},
	} {
		if _, err := newTree(t, f).loadAccounts(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, line := range []string{"x y", "u \"open", "u a 99999999999", "u a 5:none"} {
		r := withBase(t, files{"usr/lib/sysusers.d/x.conf": line + "\n"})
		if err := makeSystemAccounts(t.Context(), r, input(t)); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
}

func TestShadow(t *testing.T) {
	r := withBase(t, files{"usr/lib/sysusers.d/x.conf": "u d 300\n"})
	if err := makeSystemAccounts(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	if err := makeShadow(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{
		"etc/shadow":  "root:*:19675:0:99999:7:::\ndaemon:*:19675:0:99999:7:::\nd:!*:19675::::::\n",
		"etc/gshadow": "root:*::\ndaemon:*::\nadm:*::\nshadow:*::\nnogroup:*::\nd:*::\n",
	})
	if got := mode(t, r, "etc/shadow"); got != "0640 0 42" {
		t.Errorf("shadow is %s", got)
	}
}

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b"

func TestUsers(t *testing.T) {
	r := withBase(t, files{"etc/skel/.profile": "p\n", "etc/sudoers.d/README": "", "bin/zsh": "ELF"})
	in := input(t)
	in.Users = []spec.User{
		{Name: "ann", Groups: []string{"adm"}, AuthorizedKeys: []string{key}, Sudo: true},
		{Name: "bob", UID: 2000, Shell: "/bin/zsh"},
		{Name: "cyd"},
		{Name: "root", AuthorizedKeys: []string{key, key}},
	}
	if err := makeUsers(t.Context(), r, in); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{
		"etc/passwd": strings.ReplaceAll(masterPasswd, ":*:", ":x:") +
			"ann:x:1000:1000::/home/ann:/bin/bash\nbob:x:2000:2000::/home/bob:/bin/zsh\ncyd:x:1001:1001::/home/cyd:/bin/bash\n",
		"home/ann/.profile":             "p\n",
		"home/ann/.ssh/authorized_keys": key + "\n",
		"root/.ssh/authorized_keys":     key + "\n" + key + "\n",
		"etc/sudoers.d/50-ann":          "ann ALL=(ALL:ALL) NOPASSWD: ALL\n",
	})
	for name, want := range map[string]string{
		"home/ann": "0700 1000 1000", "home/ann/.ssh": "0700 1000 1000", "home/ann/.ssh/authorized_keys": "0600 1000 1000",
		"etc/sudoers.d/50-ann": "0440 0 0", "root/.ssh": "0700 0 0",
	} {
		if got := mode(t, r, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestUsersThatCantBeMade(t *testing.T) {
	for name, u := range map[string]spec.User{
		"no package makes this group": {Name: "a", Groups: []string{"none"}},
		`shell "/bin/fish"; include`:  {Name: "a", Shell: "/bin/fish"},
		"the root has no sudo":        {Name: "a", Sudo: true},
		"a key has several lines":     {Name: "a", AuthorizedKeys: []string{key + "\n" + key}},
		"id 1 is taken":               {Name: "a", UID: 1},
	} {
		in := input(t)
		in.Users = []spec.User{u}
		err := makeUsers(t.Context(), withBase(t, nil), in)
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestSetID(t *testing.T) {
	r := withBase(t, files{"usr/bin/ssh-agent": "ELF"})
	if err := applySetID(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	a, err := r.loadAccounts()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("2755 0 %d", a.group("_ssh").gid); mode(t, r, "usr/bin/ssh-agent") != want {
		t.Errorf("ssh-agent is %s, want %s", mode(t, r, "usr/bin/ssh-agent"), want)
	}
}

func FuzzSplitWords(f *testing.F) {
	f.Add(`u a - "x y" /z`)
	f.Fuzz(func(t *testing.T, line string) {
		words, err := splitWords(line)
		if err == nil && len(words) > len(line) {
			t.Errorf("%q gave %q", line, words)
		}
	})
}
