package directory

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

var roomy = source.Limits{Entries: 1000, Bytes: 1 << 20}

const epoch = 1700000000

func here(dir string) Source {
	return Source{Path: dir, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Limits: roomy}
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill makes a root with everything that any user can make.
func fill(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "usr/bin"), 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, "home/ann"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "usr/bin/tool"), []byte(strings.Repeat("x", 500)), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "usr/bin/tool"), 0o755|os.ModeSetuid))
	must(t, os.Link(filepath.Join(dir, "usr/bin/tool"), filepath.Join(dir, "usr/bin/alias")))
	must(t, os.Symlink("usr/bin", filepath.Join(dir, "bin")))
	must(t, os.Symlink("/nowhere/../..", filepath.Join(dir, "dangling")))
	must(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "home/ann/.profile"), nil, 0o640))
	old := time.Unix(1600000000, 123456789)
	must(t, os.Chtimes(filepath.Join(dir, "usr/bin/tool"), old, old))
	return dir
}

func TestLoadTakesEverything(t *testing.T) {
	dir := fill(t)
	d := here(dir)
	d.Owners = []Owner{{Path: "/home", UID: 5, GID: 6}, {Path: "home/ann/", UID: 1000, GID: 1001}}
	got, err := d.Load(context.Background(), newStore(t), epoch)
	must(t, err)
	node := func(path string) *tree.Inode {
		t.Helper()
		n, err := got.Lookup(path)
		must(t, err)
		return n.Inode
	}
	tool := node("usr/bin/tool")
	if tool.Mode != tree.TypeRegular|0o4755 || tool.Mtime != 1600000000 || tool.MtimeNsec != 123456789 || tool.Links() != 2 || node("usr/bin/alias") != tool || tool.Size != 500 {
		t.Errorf("tool is %+v", tool)
	}
	if n := node("usr"); n.UID != 0 || n.GID != 0 || n.Mtime != epoch || n.MtimeNsec != 0 {
		t.Errorf("usr is %+v", n)
	}
	if n := node("bin"); n.Target != "usr/bin" || n.Mode != tree.TypeSymlink|0o777 {
		t.Errorf("bin is %+v", n)
	}
	if n := node("dangling"); n.Target != "/nowhere/../.." {
		t.Errorf("dangling is %+v", n)
	}
	if n := node("pipe"); n.Mode != tree.TypeFifo|0o600 {
		t.Errorf("pipe is %+v", n)
	}
	if n := node("home"); n.UID != 5 || n.GID != 6 {
		t.Errorf("home is %+v", n)
	}
	if n := node("home/ann/.profile"); n.UID != 1000 || n.GID != 1001 || n.Mode != tree.TypeRegular|0o640 {
		t.Errorf(".profile is %+v", n)
	}
}

// Other users' files keep their owners.
func TestOwnersAreKept(t *testing.T) {
	d := here(fill(t))
	d.UID, d.GID = d.UID+1, d.GID+1
	got, err := d.Load(context.Background(), newStore(t), epoch)
	must(t, err)
	if n := got.Root.Child("usr").Inode; n.UID != uint32(os.Getuid()) || n.GID != uint32(os.Getgid()) {
		t.Errorf("usr is %+v", n)
	}
}

func TestXattrsAreKept(t *testing.T) {
	dir := fill(t)
	path := filepath.Join(dir, "usr/bin/tool")
	must(t, unix.Lsetxattr(path, "user.note", []byte("hello\x00"), 0))
	must(t, unix.Lsetxattr(filepath.Join(dir, "usr"), "user.dir", []byte{}, 0))
	got, err := here(dir).Load(context.Background(), newStore(t), epoch)
	must(t, err)
	n, err := got.Lookup("usr/bin/tool")
	must(t, err)
	if v, ok := n.Inode.Xattrs["user.note"]; !ok || v != "hello\x00" {
		t.Errorf("attributes %q", n.Inode.Xattrs)
	}
	if v, ok := got.Root.Child("usr").Inode.Xattrs["user.dir"]; !ok || v != "" {
		t.Error("the folder's empty attribute is lost")
	}
	for name, want := range map[string]bool{"security.capability": true, "security.selinux": false, "trusted.overlay.opaque": false, "system.posix_acl_access": true, "user.x": true} {
		if portable(name) != want {
			t.Errorf("portable(%q) = %v", name, !want)
		}
	}
}

// What another checkout differs in, the digest doesn't.
func TestPinIgnoresNewTimes(t *testing.T) {
	s := newStore(t)
	a, b := fill(t), fill(t)
	later := time.Unix(epoch+1000, 0)
	must(t, os.Chtimes(filepath.Join(b, "usr"), later, later))
	first, err := here(a).Pin(context.Background(), s, epoch)
	must(t, err)
	second, err := here(b).Pin(context.Background(), s, epoch)
	must(t, err)
	if first != second {
		t.Errorf("%s and %s", first, second)
	}
	_, err = here(b).Read(context.Background(), s, epoch, first)
	must(t, err)
	must(t, os.Chmod(filepath.Join(b, "usr"), 0o700))
	if _, err = here(b).Read(context.Background(), s, epoch, first); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "has changed since the plan") {
		t.Errorf("a changed mode: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		change func(t *testing.T, dir string, d *Source)
		want   string
	}{
		"socket": {func(t *testing.T, dir string, _ *Source) {
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			must(t, err)
			t.Cleanup(func() { l.Close() })
		}, "is a socket"},
		"too many":      {func(_ *testing.T, _ string, d *Source) { d.Limits.Entries = 5 }, "exceeds 5 entries"},
		"too large":     {func(_ *testing.T, _ string, d *Source) { d.Limits.Bytes = 499 }, "or 499 bytes"},
		"missing":       {func(_ *testing.T, dir string, d *Source) { d.Path = dir + "/nowhere" }, "no such file"},
		"file":          {func(_ *testing.T, dir string, d *Source) { d.Path = dir + "/usr/bin/tool" }, "not a directory"},
		"rule":          {func(_ *testing.T, _ string, d *Source) { d.Owners = []Owner{{Path: "/opt"}} }, `setting the owner of "/opt"`},
		"rule's path":   {func(_ *testing.T, _ string, d *Source) { d.Owners = []Owner{{Path: "../x"}} }, "is not allowed"},
		"large sparse":  {func(t *testing.T, dir string, _ *Source) { must(t, os.Truncate(dir+"/home/ann/.profile", 1<<40)) }, "exceeds"},
		"below symlink": {func(_ *testing.T, dir string, d *Source) { d.Owners = []Owner{{Path: "dangling/x"}} }, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fill(t)
			d := here(dir)
			x.change(t, dir, &d)
			_, err := d.Load(context.Background(), newStore(t), epoch)
			if err == nil || !strings.Contains(err.Error(), x.want) || fault.ClassOf(err) != fault.Input {
				t.Errorf("error %v lacks %q or its class", err, x.want)
			}
		})
	}
}

// A folder that becomes a symbolic link while it is read leads nowhere else.
func TestRaceWithSymlinks(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "f"), []byte("secret"), 0o644))
	if err := unix.Setxattr(filepath.Join(outside, "f"), "user.secret", []byte("secret"), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	inside := filepath.Join(dir, "d")
	must(t, os.Mkdir(inside, 0o755))
	must(t, os.WriteFile(filepath.Join(inside, "f"), []byte("public"), 0o644))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(inside, inside+".old")
			_ = os.Symlink(outside, inside)
			_ = os.Remove(inside)
			_ = os.Rename(inside+".old", inside)
		}
	}()
	s := newStore(t)
	for range 300 {
		got, err := here(dir).Load(context.Background(), s, epoch)
		if err != nil {
			continue // it was seen
		}
		must(t, got.Walk(func(path string, n *tree.Node) error {
			if strings.Contains(string(n.Inode.Content.Inline), "secret") || n.Inode.Xattrs["user.secret"] != "" {
				t.Errorf("%s is of another folder", path)
			}
			return nil
		}))
	}
	close(stop)
	<-stopped
}

// A file that grows while it is read is an error, and read no further.
func TestGrowingFile(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("four"), 0o644))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	r := &reader{Source: here(dir), ctx: context.Background(), contents: &errgroup.Group{}, store: newStore(t)}
	info, err := root.Lstat("f")
	must(t, err)
	stat := *info.Sys().(*syscall.Stat_t)
	must(t, os.Truncate(filepath.Join(dir, "f"), 1<<40))
	must(t, r.content(folder{Root: root}, "f", "f", &tree.Inode{}, &stat))
	if err := r.contents.Wait(); err == nil || !strings.Contains(err.Error(), "it was changed meanwhile") {
		t.Errorf("got %v", err)
	}
}

func TestLoadStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := here(fill(t)).Load(ctx, newStore(t), epoch); err == nil {
		t.Error("it went on")
	}
}
