//go:build repro

package e2e_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// tmpfsFolder returns a folder in memory that every user may enter.
func tmpfsFolder(t *testing.T) string {
	t.Helper()
	const shm, need = "/dev/shm", 2 << 30
	var st unix.Statfs_t
	if err := unix.Statfs(shm, &st); err != nil || st.Type != unix.TMPFS_MAGIC || int64(st.Bavail)*st.Bsize < need {
		t.Fatalf("%s is no tmpfs with %d bytes to spare; mount one there (%v)", shm, need, err)
	}
	dir, err := os.MkdirTemp(shm, "bootsmith-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// elsewhere is a way to build the same once more.
type elsewhere struct {
	host         host
	tmpfs, cold  bool
	seed         uint64 // of the order in which the definition's files are made
	flags        []string
	differentEnv []string
}

// TestReproducibleElsewhere builds as other users on other hosts would, and
// compares every byte with the first build.
func TestReproducibleElsewhere(t *testing.T) {
	first, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]elsewhere{
		"nobody without network on tmpfs": {
			host: host{Umask: 0o077, Unprivileged: true, NoNetwork: true}, tmpfs: true, seed: 3,
			differentEnv: []string{"TZ=America/St_Johns", "LC_ALL=de_DE.ISO-8859-1", "GOMAXPROCS=1"},
		},
		"nobody with nothing unpacked on disk": {
			host: host{Umask: 0o027, Unprivileged: true, NoNetwork: true}, cold: true, seed: 4,
			differentEnv: []string{"TZ=:bogus", "LANG=C.UTF-8", "GOMAXPROCS=2"}, flags: []string{"--jobs", "8"},
		},
		"root without umask on tmpfs": {
			host: host{Umask: 0, NoNetwork: true}, tmpfs: true, cold: true, seed: 5,
			differentEnv: []string{"TZ=Pacific/Kiritimati", "GOMAXPROCS=7", "GOGC=10"}, flags: []string{"--jobs", "3", "--log-format", "json"},
		},
	} {
		t.Run(name, func(t *testing.T) { x.compare(t, first) })
	}
}

func (x elsewhere) compare(t *testing.T, first finished) {
	dir := filepath.Join(filepath.Dir(first.dir), strings.ReplaceAll(t.Name(), "/", "-"))
	if x.tmpfs {
		dir = tmpfsFolder(t)
	} else if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := finished{dir: filepath.Join(dir, "out"), cache: filepath.Join(dir, "cache")}
	if err := copyCache(f.cache, first.cache, x.cold); err != nil {
		t.Fatal(err)
	}
	definition := filepath.Join(dir, "definition")
	if err := copyDefinition(definition, x.seed, 0); err != nil {
		t.Fatal(err)
	}
	if x.host.Unprivileged {
		if err := giveAway(dir); err != nil {
			t.Fatal(err)
		}
	}
	x.host.Dir = dir
	x.host.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + dir}, x.differentEnv...)
	began := time.Now()
	f, err := build(x.host, f, append([]string{"--offline", "--file", "./definition/platform.yaml"}, x.flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("built in %.1f s with %d MiB of memory", time.Since(began).Seconds(), f.maxRSS>>20)
	if err := compareFolders(first.dir, f.dir); err != nil {
		t.Error(err)
	}
}

// TestReproducibleAnotherDay builds with a clock that is ahead. It runs in this
// process, which has other modules than the program, so that the manifests differ
// in what they say of tools.
func TestReproducibleAnotherDay(t *testing.T) {
	first, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	definition := filepath.Join(dir, "definition")
	if err := copyDefinition(definition, 6, 0); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	env := cli.Env{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
		Now: func() time.Time { return time.Now().Add(40 * time.Hour) }, HostRoot: "/",
		Getenv: func(name string) string { return map[string]string{cli.MirrorVariable: os.Getenv(name)}[name] },
	}
	out := filepath.Join(dir, "out")
	if code := cli.Run(t.Context(), env, []string{"build", "--offline", "--file", definition, "--cache-dir", first.cache, "--output-dir", out}); code != 0 {
		t.Fatalf("build ended with %d:\n%s", code, stderr.String())
	}
	for _, a := range arch.All() {
		if got, want := manifestOf(t, out, a.Name), manifestOf(t, first.dir, a.Name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: built %+v, on the first day %+v", a.Name, got, want)
		}
	}
}

// manifestOf returns a build manifest without the program that wrote it.
func manifestOf(t *testing.T, dir, arch string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Read(filepath.Join(dir, arch))
	if err != nil {
		t.Fatal(err)
	}
	m.Tools = nil
	return m
}

// giveAway makes nobody the owner of a folder and the folders below it, when
// the tests run as root. Files stay: they are replaced, never written to.
func giveAway(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
}
