//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/cmdline"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/console"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/rootimg"
)

func TestAvailable(t *testing.T) {
	for meminfo, want := range map[string]int64{
		"MemTotal:  474828 kB\nMemFree: 1 kB\nMemAvailable:   440396 kB\n": 440396 << 10,
		"MemTotal:  474828 kB\n": -1, "MemAvailable: x kB\n": -1, "MemAvailable: -5 kB\n": -1, "": -1,
	} {
		got, ok := available(strings.NewReader(meminfo))
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: got %d, %v", meminfo, got, ok)
		}
	}
}

func FuzzAvailable(f *testing.F) {
	f.Add("MemAvailable:   440396 kB\n")
	f.Fuzz(func(t *testing.T, meminfo string) {
		if got, ok := available(strings.NewReader(meminfo)); ok && got < 0 {
			t.Errorf("got %d", got)
		}
	})
}

// Every failure tells what to do.
func TestWithFix(t *testing.T) {
	for err, want := range map[error]string{
		fmt.Errorf("mounting: %w", unix.ENOMEM): "mounting: cannot allocate memory; give the machine more memory",
		unix.ENODEV:                             "no such device; the initramfs lacks a kernel module for this: build it again",
		errors.New("odd"):                       "odd; boot with bootsmith.debug and without quiet to see more",
		remedy.Errorf("mend it", "broken: %w", unix.ENOMEM): "broken: cannot allocate memory; mend it",
	} {
		if got := withFix(err); got.Error() != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := execFailure("/sbin/init", unix.ENOEXEC); !strings.Contains(err.Error(), "not a program for this CPU") {
		t.Errorf("got %v", err)
	}
	if err := tooLittleMemory(100*mib+1, 50*mib); !strings.Contains(err.Error(), "of 101 MiB, only 50 were unpacked; give the machine at least 392 MiB") {
		t.Errorf("got %v", err)
	}
}

func TestTarget(t *testing.T) {
	b := &boot{settings: cmdline.Settings{RootBlocks: 77}}
	got := b.target("254:2")
	if got.Sectors != 616 || got.Type != "verity" ||
		got.Params != "1 254:2 254:2 4096 4096 77 78 sha256 "+strings.Repeat("00", 32)+" -" {
		t.Errorf("got %+v", got)
	}
}

func TestLayers(t *testing.T) {
	const want = "lowerdir=/run/bootsmith/cfs/etc::/run/bootsmith/image/objects,metacopy=on,redirect_dir=on"
	if got := layers("/etc"); got != want {
		t.Errorf("got %q", got)
	}
}

func TestSearchReport(t *testing.T) {
	var out bytes.Buffer
	s := &search{boot: &boot{Console: console.New(&out)}, wanted: rootimg.Wanted{Blocks: 9}}
	s.SetDebug(true)
	s.note("sr0", "no medium found")
	s.note("sr0", "no medium found")
	s.note("sr0", describe("it", rootimg.None, nil))
	s.note("vda", describe("it", rootimg.Other, nil))
	s.note("vdb", describe("it", rootimg.None, unix.EIO))
	for i := range maxReported {
		s.note(fmt.Sprintf("disk%d", i), "empty")
	}
	if n := strings.Count(out.String(), "looked at"); n != 4+maxReported {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	msg := s.failure().Error()
	for _, want := range []string{"9 blocks (sr0: it is not this root image, vda: a root image of another build", "vdb: input/output error, disk0: empty", ", 3 more)"} {
		if !strings.Contains(msg, want) {
			t.Errorf("no %q in %q", want, msg)
		}
	}
}

func TestSearchKnows(t *testing.T) {
	s := &search{}
	if s.isKnown("sr0", 0) {
		t.Error("a device is known before it was looked at")
	}
	s.know("sr0", 0)
	if !s.isKnown("sr0", 0) || s.isKnown("sr0", 2048) || s.isKnown("sr1", 0) {
		t.Error("not exactly the device with that size is known")
	}
}

func TestFindInit(t *testing.T) {
	root := t.TempDir()
	for name, mode := range map[string]os.FileMode{"usr/lib/systemd/systemd": 0o755, "sbin/plain": 0o644} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	// Absolute links lead to the new root, and none leads out of it.
	for name, target := range map[string]string{"sbin/init": "/usr/lib/systemd/systemd", "sbin/up": "../../../../../../../sbin/init",
		"sbin/out": "/proc/self/exe", "sbin/self": "self"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/sbin/init", "/sbin/up", "usr/lib/systemd/systemd"} {
		if got, err := findInit(root, []string{"/sbin", "/sbin/plain", path}); err != nil || got != path {
			t.Errorf("%s: got %q, %v", path, got, err)
		}
	}
	_, err := findInit(root, []string{"/sbin/plain", "/sbin", "/sbin/out", "/sbin/self", "/none"})
	if err == nil || !strings.Contains(err.Error(), "the root has no init (/sbin/plain: not an executable file, /sbin: not an executable file,") {
		t.Errorf("got %v", err)
	}
	if got := initCandidates(""); len(got) != 4 || got[0] != "/sbin/init" {
		t.Errorf("got %q", got)
	}
}

// What starts an init is looked at, too.
func TestFindInitFollowsInterpreters(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"ok": "#!/script -x\n", "script": "#!/program\n", "program": "x", "loop": "#!/loop\n",
		"missing": "#!/none\n", "relative": "#!script\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "notprogram"), []byte("#!/plain\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := findInit(root, []string{"/missing", "/ok"}); err != nil || got != "/ok" {
		t.Errorf("got %q, %v", got, err)
	}
	for path, want := range map[string]string{
		"/missing":    "its interpreter /none: no such file",
		"/loop":       "scripts that need interpreters",
		"/relative":   "not an absolute path",
		"/notprogram": "its interpreter /plain: not an executable file",
	} {
		if _, err := findInit(root, []string{path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func TestCheckMountPoints(t *testing.T) {
	root := t.TempDir()
	for _, dir := range moved() {
		if err := checkMountPoints(root); err == nil || !strings.Contains(err.Error(), "the root has no directory "+dir+"; add") {
			t.Errorf("got %v", err)
		}
		if err := os.Mkdir(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkMountPoints(root); err != nil {
		t.Error(err)
	}
}

func TestDeleteTree(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "kept")
	if err := errors.Join(os.MkdirAll(root+"/a/b", 0o755), os.WriteFile(root+"/a/b/f", nil, 0o400),
		os.WriteFile(outside, nil, 0o600), os.Symlink(filepath.Dir(outside), root+"/link")); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(root, &st); err != nil {
		t.Fatal(err)
	}
	if err := deleteTree(root, st.Dev+1); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root + "/a/b/f"); err != nil {
		t.Errorf("a file of another device is gone: %v", err)
	}
	if err := deleteTree(root, st.Dev); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}

func TestCopyAttributes(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	when := time.Unix(1700000000, 5)
	if err := errors.Join(unix.Chmod(src, 0o3751), os.Chtimes(src, when, when)); err != nil {
		t.Fatal(err)
	}
	if err := copyAttributes(dst, src); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dst, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o7777 != 0o3751 || st.Mtim.Nano() != when.UnixNano() {
		t.Errorf("mode %o, time %d", st.Mode, st.Mtim.Nano())
	}
	if err := copyAttributes(dst, src+"/none"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}
