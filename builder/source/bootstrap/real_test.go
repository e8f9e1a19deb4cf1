//go:build bootstrap

package bootstrap

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// testUser is the ordinary user that root's tests run as, too. `make bootstrap`
// adds it.
const testUser = "bootsmith-test"

// childVariable names the folder of a test that runs as that user.
const childVariable = "BOOTSMITH_TEST_BOOTSTRAP"

func thisHost(t *testing.T, temp string) Host {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return Host{Root: os.DirFS("/"), UID: uint32(os.Getuid()), User: u.Username, Arch: runtime.GOARCH, SearchPath: os.Getenv("PATH"), TempDir: temp, Now: time.Now}
}

// essential returns the essential packages of a suite, in the user's cache.
func essential(t *testing.T, suite string, a arch.Arch) (*apt.Archive, []apt.Package) {
	t.Helper()
	return resolved(t, suite, a, apt.Request{Essential: true})
}

// resolved returns packages of a suite, in the user's cache.
func resolved(t *testing.T, suite string, a arch.Arch, r apt.Request) (*apt.Archive, []apt.Package) {
	t.Helper()
	mirror, err := apt.ChooseMirror("", os.Getenv("BOOTSMITH_DEBIAN_MIRROR"), suite, os.DirFS("/"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	archive := &apt.Archive{
		Mirror: mirror, Suite: suite, Arch: a, CacheDir: filepath.Join(cache, "bootsmith"),
		Client: http.DefaultClient, Now: time.Now, MaxAge: 24 * time.Hour,
	}
	found, err := archive.ResolveEach(t.Context(), []apt.Request{r})
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.Fetch(t.Context(), found[0].Packages, nil); err != nil {
		t.Fatal(err)
	}
	return archive, found[0].Packages
}

// install bootstraps packages and returns the root and how it looks.
func install(t *testing.T, archive Archive, packages []apt.Package, a arch.Arch, temp string) (*tree.Tree, *store.Store, string) {
	t.Helper()
	s := newStore(t)
	b := Source{
		Packages: packages, Archive: archive, Platform: "demo", Arch: a, Timeout: time.Hour, Host: thisHost(t, temp),
		Limits: source.Limits{Entries: 1 << 20, Bytes: 8 << 30}, Log: func(line string) { t.Log(line) },
	}
	pin, err := b.Pin(t.Context(), s, epoch)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	root, err := b.Read(t.Context(), s, epoch, pin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packages for %s in %.1f s", len(packages), a.Name, time.Since(start).Seconds())
	return root, s, describe(root)
}

// describe lists all that a tree says.
func describe(root *tree.Tree) string {
	var b strings.Builder
	_ = root.Walk(func(path string, n *tree.Node) error {
		i := n.Inode
		fmt.Fprintf(&b, "%s %o %d:%d %d.%d %x %d %q %v\n", path, i.Mode, i.UID, i.GID, i.Mtime, i.MtimeNsec, i.Content.SHA256, i.Size, i.Target, i.Xattrs)
		return nil
	})
	return b.String()
}

// TestReproducible bootstraps the same packages twice: for root once more as an
// ordinary user, with another umask and time zone.
func TestReproducible(t *testing.T) {
	if dir := os.Getenv(childVariable); dir != "" {
		runChild(t, dir)
		return
	}
	a := lookup(t, runtime.GOARCH)
	archive, packages := essential(t, "trixie", a)
	root, s, first := install(t, archive, packages, a, os.TempDir())
	checkNothingTells(t, root, s)
	var second string
	if os.Getuid() == 0 {
		second = installAsUser(t, archive, packages)
	} else {
		_, _, second = install(t, archive, packages, a, os.TempDir())
	}
	if first == second {
		return
	}
	ours, theirs := strings.Split(first, "\n"), strings.Split(second, "\n")
	for i := range min(len(ours), len(theirs)) {
		if ours[i] != theirs[i] {
			t.Fatalf("two bootstraps differ first in\n%s\nand\n%s", ours[i], theirs[i])
		}
	}
	t.Fatalf("two bootstraps differ: %d and %d entries", len(ours), len(theirs))
}

// checkNothingTells looks for the host and for the day in the root's files.
func checkNothingTells(t *testing.T, root *tree.Tree, s *store.Store) {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	signs := []string{now.Format("2006-01-02"), now.Format("Jan _2 15:"), fmt.Sprintf(":%d:", now.Unix()/86400), filepath.Join(os.TempDir(), "bootsmith-")}
	if len(host) > 7 { // shorter ones may be words
		signs = append(signs, host)
	}
	err = root.Walk(func(path string, n *tree.Node) error {
		// What packages ship is older than the build's time stamp.
		if !n.Inode.IsRegular() || n.Inode.Mtime != epoch || n.Inode.Size > 1<<20 {
			return nil
		}
		r, err := s.Open(n.Inode.Content)
		if err != nil {
			return err
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		for _, sign := range signs {
			if bytes.Contains(data, []byte(sign)) {
				t.Errorf("/%s holds %q", path, sign)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "var/log/dpkg.log"} {
		if _, err := root.Lookup(name); err == nil {
			t.Errorf("/%s is in the root", name)
		}
	}
}

// installAsUser has another process of this test bootstrap as an ordinary user,
// and returns how the root looks.
func installAsUser(t *testing.T, archive *apt.Archive, packages []apt.Package) string {
	t.Helper()
	u, err := user.Lookup(testUser)
	if err != nil {
		t.Fatalf("%v: run make bootstrap, or useradd -m %s", err, testUser)
	}
	uid, gid := atoi(t, u.Uid), atoi(t, u.Gid)
	dir := t.TempDir()
	for d := dir; d != "/"; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err != nil || info.Mode()&0o005 != 0o005 {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := json.Marshal(packages)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"packages.json": list, "test": self} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range packages {
		f, err := archive.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "cache", "sha256", p.SHA256[:2], p.SHA256[2:])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := writeShared(name, f, 0o644); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run=^TestReproducible$", "-test.v")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stderr, os.Stderr
	cmd.Env = []string{childVariable + "=" + dir, "PATH=/usr/bin:/bin", "TZ=Asia/Tokyo", "HOME=" + dir, "TMPDIR=" + os.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if err := cmd.Run(); err != nil {
		t.Fatalf("bootstrapping as %s: %v", testUser, err)
	}
	return read(t, dir, "root.txt")
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// runChild is what the other process does.
func runChild(t *testing.T, dir string) {
	syscall.Umask(0o077)
	var packages []apt.Package
	if err := json.Unmarshal([]byte(read(t, dir, "packages.json")), &packages); err != nil {
		t.Fatal(err)
	}
	a := lookup(t, runtime.GOARCH)
	archive := &apt.Archive{Mirror: "file:///none", Suite: "trixie", Arch: a, CacheDir: filepath.Join(dir, "cache"), Now: time.Now, Offline: true}
	_, _, text := install(t, archive, packages, a, os.TempDir())
	if err := os.WriteFile(filepath.Join(dir, "root.txt"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestForeign bootstraps what is called minbase, for all other architectures:
// that takes an emulator, and minutes.
func TestForeign(t *testing.T) {
	for _, a := range arch.All() {
		if a.Name == runtime.GOARCH {
			continue
		}
		priorities, names := spec.Bootstrap{Variant: spec.VariantRequired}.Base()
		archive, packages := resolved(t, "trixie", a, apt.Request{Essential: true, Priorities: priorities, Names: names})
		root, s, _ := install(t, archive, packages, a, os.TempDir())
		n, err := root.Resolve("usr/bin/apt-get")
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(n.Inode.Content)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(data))
		if err != nil || f.Machine != elf.Machine(a.ELFMachine) {
			t.Errorf("apt-get is not for %s: %v", a.Name, err)
		}
		// Scripts have run: they made the accounts.
		if n, err := root.Lookup("etc/passwd"); err != nil || n.Inode.Size == 0 {
			t.Errorf("there are no accounts: %v", err)
		}
	}
}

// TestOldRelease bootstraps a release that expects others to merge /usr.
func TestOldRelease(t *testing.T) {
	a := lookup(t, runtime.GOARCH)
	archive, packages := essential(t, "bookworm", a)
	root, _, _ := install(t, archive, packages, a, os.TempDir())
	for _, name := range []string{"bin", "sbin", "lib"} {
		if n, err := root.Lookup(name); err != nil || n.Inode.Target != "usr/"+name {
			t.Errorf("/%s is no link into /usr: %v", name, err)
		}
	}
}
