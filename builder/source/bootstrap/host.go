package bootstrap

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

// Host is the build host, as far as a bootstrap depends on it.
type Host struct {
	// Root is its root directory.
	Root fs.FS
	// UID and User are the building user's id and name.
	UID  uint32
	User string
	// Arch is the name of the architecture that the host is of.
	Arch string
	// SearchPath is the PATH in which tools are looked for.
	SearchPath string
	// TempDir is the folder in which chroots are made.
	TempDir string
	// Now is its clock.
	Now func() time.Time
}

// tools are the programs that a bootstrap needs, and their Debian packages.
var tools = []struct {
	program, pkg string
	unprivileged bool // only users other than root need it
}{
	{"mmdebstrap", "mmdebstrap", false}, {"apt-get", "apt", false}, {"dpkg-deb", "dpkg", false},
	{"newuidmap", "uidmap", true}, {"newgidmap", "uidmap", true},
}

// check looks for all that the host lacks to bootstrap an architecture.
func (h Host) check(a arch.Arch) error {
	for _, t := range tools {
		if t.unprivileged && h.UID == 0 {
			continue
		}
		if h.find(t.program) == "" {
			return fault.Toolf("bootstrapping the root: %s is missing", t.program).WithFix("install the package %s", t.pkg)
		}
	}
	if h.UID != 0 {
		if err := h.checkNamespaces(); err != nil {
			return err
		}
	}
	if a.Name == h.Arch {
		return nil
	}
	return h.checkEmulation(a)
}

// find returns the path of a program, "" when there is none. Where tools of the
// system's administrator are is looked at, too: users may not have these folders
// in their PATH.
func (h Host) find(program string) string {
	for _, dir := range append(filepath.SplitList(h.SearchPath), "/usr/sbin", "/usr/bin", "/sbin", "/bin") {
		name := path.Join(dir, program)
		if !path.IsAbs(name) {
			continue
		}
		info, err := fs.Stat(h.Root, name[1:])
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return name
		}
	}
	return ""
}

// idCount is how many users and groups a Debian system has ids for (Debian
// Policy 9.2.2).
const idCount = 65536

// checkNamespaces tells whether an ordinary user can be root, and all others, in
// a user namespace.
func (h Host) checkNamespaces() error {
	for _, x := range []struct{ key, bad, good string }{
		{"kernel/unprivileged_userns_clone", "0", "1"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1", "0"},
		{"user/max_user_namespaces", "0", "15000"},
	} {
		data, err := fs.ReadFile(h.Root, "proc/sys/"+x.key)
		if err == nil && strings.TrimSpace(string(data)) == x.bad {
			return fault.Toolf("bootstrapping the root: this system lets only root make user namespaces").
				WithFix("run sysctl -w %s=%s as root, or build as root", strings.ReplaceAll(x.key, "/", "."), x.good)
		}
	}
	for _, x := range []struct{ file, option string }{{"etc/subuid", "--add-subuids"}, {"etc/subgid", "--add-subgids"}} {
		n, err := h.subordinates(x.file)
		if err != nil {
			return fmt.Errorf("bootstrapping the root: %w", err)
		}
		if n < idCount {
			return fault.Toolf("bootstrapping the root: /%s gives user %q %d ids, and %d are needed", x.file, h.User, n, idCount).
				WithFix("run usermod %s 100000-165535 %s as root, with a range that is free, or build as root", x.option, h.User)
		}
	}
	return nil
}

// subordinates returns how many ids the user's first entry has (subuid(5)): it
// is the one that mmdebstrap uses.
func (h Host) subordinates(file string) (uint64, error) {
	f, err := h.Root.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Split(lines.Text(), ":")
		if len(words) == 3 && words[0] == h.User {
			n, err := strconv.ParseUint(words[2], 10, 32)
			if err != nil {
				return 0, fault.Inputf("reading /%s: %q is not a number of ids", file, words[2])
			}
			return n, nil
		}
	}
	return 0, nil
}

// workDir makes a folder that all users can reach: those of the namespace are
// no others.
func (h Host) workDir() (string, error) {
	const what = "making a folder for the bootstrap"
	if strings.ContainsAny(h.TempDir, "\" \t\n[]%") {
		return "", fault.Inputf("%s in %q: apt can't read such a path", what, h.TempDir).WithFix("set TMPDIR to another folder")
	}
	for dir := h.TempDir; h.UID != 0; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&0o001 == 0 {
			return "", fault.Inputf("%s in %q: other users can't enter %q, and the chroot's are others", what, h.TempDir, dir).
				WithFix("set TMPDIR to another folder, or run chmod o+x on this one")
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	dir, err := os.MkdirTemp(h.TempDir, "bootsmith-")
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return dir, os.Chmod(dir, 0o755)
}

// removeAll deletes the work folder. What a killed mmdebstrap left belongs to
// the namespace's users, who have to delete it.
func (h Host) removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || h.UID == 0 {
		return err
	}
	// The namespace's root can't delete the folder itself, which is ours.
	cmd := exec.Cmd{
		Path: h.find("mmdebstrap"), Args: []string{"mmdebstrap", "--unshare-helper", "find", dir, "-mindepth", "1", "-delete"},
		Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"},
	}
	_ = cmd.Run() // what it can't delete is told by what follows
	return os.RemoveAll(dir)
}
