package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/publish/localstack"
)

// lockBench is a definition, an archive that serves it, and a cache.
type lockBench struct {
	env  Env
	repo *apttest.Repo
	dir  string
	args []string // flags of every verb
}

func newLockBench(t *testing.T) *lockBench {
	t.Helper()
	b := &lockBench{env: testEnv(t), repo: apttest.New(), dir: t.TempDir()}
	b.env.Now = func() time.Time { return apttest.Epoch().Add(time.Hour) }
	b.repo.Add(apttest.Deb{Name: "app", Arch: "all", Files: apttest.Bootable()})
	for _, name := range []string{"tool", "linux-image-test", "systemd-boot-efi"} {
		b.repo.Add(apttest.Deb{Name: name, Arch: "all"})
	}
	b.repo.Publish()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		resp, err := b.repo.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
	}))
	t.Cleanup(server.Close)
	write(t, filepath.Join(b.dir, "archive.gpg"), string(apttest.Keyring(b.repo.Key, true)))
	b.define(t, "app")
	b.args = []string{"--file", b.dir, "--cache-dir", filepath.Join(b.dir, "cache"), "--mirror", server.URL + "/archive", "--max-age", "0s"}
	return b
}

// define writes the definition.
func (b *lockBench) define(t *testing.T, include string) {
	t.Helper()
	write(t, filepath.Join(b.dir, "platform.yaml"), "name: demo\nroot:\n  packages: {suite: test, include: ["+include+"], keyring: archive.gpg}\nkernel: {package: linux-image-test}\n")
}

func (b *lockBench) run(t *testing.T, verb string, args ...string) (int, string, string) {
	t.Helper()
	return run(t, b.env, append(append([]string{verb}, b.args...), args...)...)
}

func (b *lockBench) lock(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, "platform.lock"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLock(t *testing.T) {
	b := newLockBench(t)
	code, out, log := b.run(t, "lock")
	if code != 0 || !strings.Contains(out, "arm64: 3 packages of test, released 2023-11-14 22:13:20Z\n") {
		t.Fatalf("%d\n%s%s", code, out, log)
	}
	b.repo.Add(apttest.Deb{Name: "app", Version: "2", Arch: "all"})
	b.repo.Date = b.repo.Date.Add(time.Minute)
	b.repo.Publish()
	b.repo.Requests()

	for _, x := range []struct {
		include string
		args    []string
		want    string
	}{
		{"app", nil, "amd64: no difference\narm64: no difference\n"},
		{"app,tool", nil, "  packages:\n    + tool 1.0, use root\n"},
		{"app,tool", []string{"--update", "app"}, "  packages:\n    ~ app 1.0 → 2\n"},
		{"tool", nil, "  packages:\n    - app 2, use root\n"},
		{"app", []string{"--update"}, "  packages:\n    + app 2, use root\n"},
	} {
		b.define(t, x.include)
		before := b.lock(t)
		if code, out, log = b.run(t, "lock", x.args...); code != 0 || !strings.Contains(out, x.want) {
			t.Errorf("lock %q of %s: %d\n%s%s", x.args, x.include, code, out, log)
		}
		if same := b.lock(t) == before; same != strings.Contains(x.want, "no difference") {
			t.Errorf("lock %q of %s: the lock is the same: %v", x.args, x.include, same)
		}
	}
}

// An archive that shows an older state than the locked one is refused.
func TestLockRefusesDowngrade(t *testing.T) {
	b := newLockBench(t)
	if code, _, log := b.run(t, "lock"); code != 0 {
		t.Fatal(log)
	}
	before := b.lock(t)
	b.repo.Date = b.repo.Date.Add(-time.Hour)
	b.repo.Publish()
	refused := func(verb string, args ...string) {
		t.Helper()
		code, _, log := b.run(t, verb, args...)
		if code != ExitInput || !strings.Contains(log, "2023-11-14T21:13:20Z, and that of the lock 2023-11-14T22:13:20Z") {
			t.Errorf("%s %q: %d %s", verb, args, code, log)
		}
		if b.lock(t) != before {
			t.Error("the lock has changed")
		}
	}
	refused("lock", "--update")
	refused("lock", "--update", "app")
	b.define(t, "tool")
	refused("lock")
	refused("build", "--output-dir", filepath.Join(b.dir, "out"))
	if code, _, log := b.run(t, "lock", "--update", "--allow-downgrade"); code != 0 {
		t.Error(log)
	}
}

func TestLockMistakes(t *testing.T) {
	b := newLockBench(t)
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"lock", "app"}, "packages are named with --update"},
		{[]string{"lock", "--update", "app"}, "nothing is locked yet"},
		{[]string{"build", "--locked"}, "platform.lock: no such file or directory; run bootsmith lock"},
	} {
		code, _, log := b.run(t, x.args[0], x.args[1:]...)
		if code != ExitInput || !strings.Contains(log, x.want) || strings.Count(log, "\n") != 1 {
			t.Errorf("%q: %d %s", x.args, code, log)
		}
	}
	if _, err := os.Stat(filepath.Join(b.dir, "platform.lock")); err == nil {
		t.Error("a lock was written")
	}
}

// A locked build that doesn't fit ends with one line per cause.
func TestLockedBuildOfAnotherDefinition(t *testing.T) {
	b := newLockBench(t)
	if code, _, log := b.run(t, "lock"); code != 0 {
		t.Fatal(log)
	}
	b.define(t, "tool")
	file := filepath.Join(b.dir, "platform.yaml")
	write(t, file, strings.Replace(readAll(t, file), "{package", "{modules: initramfs, package", 1))
	code, _, log := b.run(t, "build", "--locked", "--output-dir", filepath.Join(b.dir, "out"))
	want := "bootsmith: " + file + `:4: kernel.modules: "initramfs" was "root"` + "\nbootsmith: " + file + `:3: root.packages.include: "tool" was "app"` +
		"\nbootsmith: " + filepath.Join(b.dir, "platform.lock") + " doesn't fit any more; run bootsmith lock\n"
	if code != ExitInput || log != want {
		t.Errorf("%d\n%s, want\n%s", code, log, want)
	}
}

// What is locked and fetched needs no network, no mirror and no keyring; what
// isn't in the cache is named, with what to do.
func TestFetchedLockIsEnough(t *testing.T) {
	b := newLockBench(t)
	if code, _, log := b.run(t, "lock", "--fetch"); code != 0 {
		t.Fatal(log)
	}
	if err := os.Remove(filepath.Join(b.dir, "archive.gpg")); err != nil {
		t.Fatal(err)
	}
	b.args = slices.DeleteFunc(b.args, func(arg string) bool { return arg == "--mirror" || strings.HasPrefix(arg, "http:") })
	b.repo.Requests()
	offline := func() string {
		// The packages hold no kernel: that is as far as it gets.
		code, _, log := b.run(t, "build", "--locked", "--offline", "--output-dir", filepath.Join(b.dir, "out"))
		if code != ExitInput {
			t.Errorf("%d\n%s", code, log)
		}
		if asked := b.repo.Requests(); len(asked) > 0 {
			t.Errorf("the archive was asked for %q", asked)
		}
		return log
	}
	if log := offline(); !strings.Contains(log, "finding the kernel") {
		t.Error(log)
	}
	if err := os.RemoveAll(filepath.Join(b.dir, "cache")); err != nil {
		t.Fatal(err)
	}
	if log := offline(); !strings.Contains(log, `fetching package "`) || !strings.Contains(log, "offline, and it is not in the cache; build once with the network, or run bootsmith lock --fetch") {
		t.Error(log)
	}
	b.define(t, "tool")
	if code, _, log := b.run(t, "plan", "--offline"); code != ExitInput || !strings.Contains(log, "choosing a mirror: none is configured") {
		t.Errorf("without a lock that fits: %d %s", code, log)
	}
}

func readAll(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// An image that was locked and fetched needs no registry.
func TestFetchedImageIsEnough(t *testing.T) {
	s, err := localstack.Start(t.Context(), localstack.Config{Dir: filepath.Join(t.TempDir(), "stack")})
	if err != nil {
		t.Fatal(err)
	}
	closed := sync.OnceValue(s.Close)
	t.Cleanup(func() { closed() })
	digest := pushImage(t, s.Registry+"/acme/base")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "platform.yaml"), "name: demo\narchitectures: [arm64]\nroot: {image: {reference: \""+s.Registry+"/acme/base@"+digest+"\"}}\n")
	flags := []string{"--file", dir, "--cache-dir", filepath.Join(dir, "cache")}
	code, out, log := run(t, testEnv(t), append([]string{"lock", "--fetch"}, flags...)...)
	if code != 0 || out != "arm64: root from image "+digest+"\n" {
		t.Fatalf("%d %s%s", code, out, log)
	}
	if err := closed(); err != nil {
		t.Fatal(err)
	}
	offline := append([]string{"plan", "--locked", "--offline"}, flags...)
	if code, out, log := run(t, testEnv(t), offline...); code != 0 || !strings.Contains(out, "root from image  "+digest) {
		t.Errorf("%d %s%s", code, out, log)
	}
	if err := os.RemoveAll(filepath.Join(dir, "cache")); err != nil {
		t.Fatal(err)
	}
	if code, _, log := run(t, testEnv(t), offline...); code != ExitInput || !strings.Contains(log, digest+": it is not in the cache, and the build is offline; build once without --offline, or run bootsmith lock --fetch") {
		t.Errorf("without a cache: %d %s", code, log)
	}
}

// pushImage pushes an image of noise for arm64 and returns its digest.
func pushImage(t *testing.T, repository string) string {
	t.Helper()
	img, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created.Time = "linux", "arm64", time.Unix(1_500_000_000, 0)
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(repository + ":latest")
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}
