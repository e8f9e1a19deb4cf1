package bootstrap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/powernode/bootsmith/builder/fault"
)

// hostWith returns an amd64 host that lacks nothing, with some files changed;
// "-" removes one.
func hostWith(uid uint32, files map[string]string) Host {
	root := fstest.MapFS{}
	all := map[string]string{
		"etc/subuid": "someone:1000:5\nme:100000:65536\n", "etc/subgid": "me:100000:65536\n",
		"proc/sys/user/max_user_namespaces": "1000\n",
		binfmtDir + "/status":               "enabled\n",
		binfmtDir + "/register":             "",
		binfmtDir + "/python3":              "enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\nmagic cb0d0d0a\n",
		binfmtDir + "/qemu-aarch64":         aarch64("enabled", "OCPF"),
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if text != "-" {
			root[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		}
	}
	for _, name := range []string{"mmdebstrap", "apt-get", "dpkg-deb", "newuidmap", "newgidmap"} {
		if all["usr/bin/"+name] != "-" {
			root["usr/bin/"+name] = &fstest.MapFile{Mode: 0o755}
		}
	}
	return Host{Root: root, UID: uid, User: "me", Arch: "amd64", SearchPath: "bin::/usr/local/bin"}
}

// aarch64 is the handler that qemu-user-static registers.
func aarch64(state, flags string) string {
	return state + "\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: " + flags + "\noffset 0\n" +
		"magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
}

func TestHostCheck(t *testing.T) {
	const handler = binfmtDir + "/qemu-aarch64"
	for _, x := range []struct {
		name, arch string
		uid        uint32
		files      map[string]string
		words      string // of the error; "": there is none
	}{
		{"root", "amd64", 0, nil, ""},
		{"user", "amd64", 1000, nil, ""},
		{"emulated", "arm64", 1000, nil, ""},
		{"no mmdebstrap", "amd64", 0, map[string]string{"usr/bin/mmdebstrap": "-"}, "mmdebstrap is missing; install the package mmdebstrap"},
		{"no apt", "amd64", 0, map[string]string{"usr/bin/apt-get": "-"}, "install the package apt"},
		{"root without uidmap", "amd64", 0, map[string]string{"usr/bin/newuidmap": "-", "etc/subuid": "-"}, ""},
		{"no uidmap", "amd64", 1000, map[string]string{"usr/bin/newuidmap": "-"}, "install the package uidmap"},
		{"no subuid", "amd64", 1000, map[string]string{"etc/subuid": "-"}, `/etc/subuid gives user "me" 0 ids, and 65536 are needed; run usermod --add-subuids 100000-165535 me as root`},
		{"other's subgid", "amd64", 1000, map[string]string{"etc/subgid": "you:1:65536\n"}, "usermod --add-subgids"},
		{"few ids", "amd64", 1000, map[string]string{"etc/subuid": "me:100000:1000\n"}, "1000 ids"},
		{"odd subuid", "amd64", 1000, map[string]string{"etc/subuid": "me:100000:many\n"}, `"many" is not a number`},
		{"clone forbidden", "amd64", 1000, map[string]string{"proc/sys/kernel/unprivileged_userns_clone": "0\n"}, "run sysctl -w kernel.unprivileged_userns_clone=1 as root"},
		{"AppArmor", "amd64", 1000, map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"no namespaces", "amd64", 1000, map[string]string{"proc/sys/user/max_user_namespaces": "0\n"}, "user.max_user_namespaces=15000"},
		{"not mounted", "arm64", 0, map[string]string{binfmtDir + "/status": "-"}, "bootstrapping the root of arm64 on amd64: binfmt_misc is not mounted, so that no emulator can be found; " +
			"run mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc as root, then run apt-get install qemu-user-static and sh -c 'cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register' as root"},
		{"all disabled", "arm64", 0, map[string]string{binfmtDir + "/status": "disabled\n"}, "binfmt_misc is disabled; run sh -c 'echo 1 > /proc/sys/fs/binfmt_misc/status' as root"},
		{"no handler", "arm64", 0, map[string]string{handler: "-"}, "no handler in /proc/sys/fs/binfmt_misc takes its programs; run apt-get install qemu-user-static and sh -c 'cat /usr/lib/binfmt.d/qemu-aarch64.conf"},
		{"disabled", "arm64", 0, map[string]string{handler: aarch64("disabled", "F")}, "the handler qemu-aarch64 is disabled; run sh -c 'echo 1 > /proc/sys/fs/binfmt_misc/qemu-aarch64' as root"},
		{"not in chroots", "arm64", 0, map[string]string{handler: aarch64("enabled", "OC")}, "lacks the flag F; remove it with sh -c 'echo -1 > "},
		{"by any name", "arm64", 0, map[string]string{handler: "-", binfmtDir + "/x": aarch64("enabled", "PF")}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			err := hostWith(x.uid, x.files).check(lookup(t, x.arch))
			if x.words == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			class := fault.Tool
			if x.name == "odd subuid" {
				class = fault.Input
			}
			wantFault(t, err, class, strings.Split(x.words, "|")...)
		})
	}
	if got := hostWith(0, nil).find("apt-get"); got != "/usr/bin/apt-get" {
		t.Errorf("found %q", got)
	}
}

func TestWorkDir(t *testing.T) {
	for _, dir := range []string{"/a b", "/a[b", "/a%20"} {
		_, err := Host{TempDir: dir}.workDir()
		wantFault(t, err, fault.Input, dir, "set TMPDIR")
	}
	private := filepath.Join(t.TempDir(), "private")
	inside := filepath.Join(private, "tmp")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Host{TempDir: inside, UID: 1000}.workDir()
	wantFault(t, err, fault.Input, private, "run chmod o+x")
	dir, err := Host{TempDir: inside}.workDir() // root's users are the host's
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v %v", info, err)
	}
	_, err = Host{TempDir: filepath.Join(inside, "none")}.workDir()
	if err == nil {
		t.Error("no error without the folder")
	}
}

func FuzzHandler(f *testing.F) {
	f.Add(aarch64("enabled", "OCPF"))
	f.Add("disabled\ninterpreter /x\nflags: \nextension .py\n")
	f.Add("enabled\noffset -5\nmagic 7f\nmask \n")
	f.Add("offset 99999999999999999999\nmagic zz\n")
	header := programHeader(lookup(f, "arm64"))
	f.Fuzz(func(t *testing.T, text string) {
		h := parseHandler(text)
		if h.takes(header) && (len(h.magic) == 0 || h.offset+len(h.magic) > len(header)) {
			t.Errorf("%q takes a program by bytes that it lacks", text)
		}
	})
}
