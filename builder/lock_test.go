package builder

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/builder/spec"
)

var update = flag.Bool("update", false, "write golden files")

// packagesNamed returns an archive with packages "name=version", for all
// architectures, and what every plan needs.
func packagesNamed(list string) *apttest.Repo {
	repo := apttest.New()
	for _, word := range strings.Fields("linux-image-test systemd-boot-efi " + list) {
		name, version, _ := strings.Cut(word, "=")
		repo.Add(apttest.Deb{Name: name, Version: version, Arch: "all"})
	}
	repo.Publish()
	return repo
}

// repoConfig is a configuration around an archive, and its key.
func repoConfig(t *testing.T, repo *apttest.Repo) Config {
	t.Helper()
	c, dir := testConfig(t), t.TempDir()
	keyring := filepath.Join(dir, "keyring.gpg")
	if err := os.WriteFile(keyring, apttest.Keyring(repo.Key, false), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Archive = func(f *spec.File, a arch.Arch) (Archive, error) {
		return &apt.Archive{
			Mirror: "http://mirror.example.org/archive", Suite: f.PackageArchive().Suite, Keyring: keyring, Arch: a,
			CacheDir: dir, Client: &http.Client{Transport: repo}, Backoff: time.Microsecond,
			Now: func() time.Time { return apttest.Epoch().Add(time.Hour) },
		}, nil
	}
	return c
}

const lockable = `name: demo
root:
  packages: {suite: test, include: [app, tool]}
kernel: {package: linux-image-test}
`

func newTestLock(t *testing.T, c Config, f *spec.File, old *Lock, u Update) *Lock {
	t.Helper()
	l, err := NewLock(t.Context(), c, f, old, u)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// written is the lock as it is read again.
func written(t *testing.T, l *Lock) *Lock {
	t.Helper()
	path := filepath.Join(t.TempDir(), "platform.lock")
	if err := l.Write(path); err != nil {
		t.Fatal(err)
	}
	again, err := ReadLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l, again) {
		t.Errorf("written\n%+v, read\n%+v", l, again)
	}
	return again
}

// versions lists a target's packages.
func versions(l *Lock, name string) string {
	var all []string
	for _, p := range l.target(name).Packages.All() {
		if p.Name == "app" || p.Name == "tool" || p.Name == "lib" {
			all = append(all, p.Name+"="+p.Version)
		}
	}
	return strings.Join(all, " ")
}

func TestLockGolden(t *testing.T) {
	l := newTestLock(t, repoConfig(t, packagesNamed("app=1 tool=2")), parse(t, lockable), nil, Update{})
	for i := range l.Targets { // the key is another each time
		l.Targets[i].Packages.ReleaseSHA256 = strings.Repeat("0", 64)
	}
	got, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/platform.lock"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v; the lock is\n%s", err, got)
	}
}

// A build from a lock takes the same, whatever the archive has by then, and asks
// it nothing.
func TestLockedPlan(t *testing.T) {
	f := parse(t, lockable)
	repo := packagesNamed("app=1 tool=1")
	c := repoConfig(t, repo)
	unlocked := newTestPlan(t, c, Request{File: f})
	l := written(t, newTestLock(t, c, f, nil, Update{}))
	repo.Add(apttest.Deb{Name: "app", Version: "2", Arch: "all"})
	repo.Date = repo.Date.Add(time.Minute)
	repo.Publish()
	repo.Requests()

	p := newTestPlan(t, c, Request{File: f, Lock: l, Locked: true})
	if asked := repo.Requests(); len(asked) > 0 {
		t.Errorf("the archive was asked for %q", asked)
	}
	if p.LockSHA256 != l.SHA256() || len(l.SHA256()) != 64 {
		t.Errorf("the plan's lock is %q", p.LockSHA256)
	}
	if p.seed() != unlocked.seed() || p.Revision != unlocked.Revision {
		t.Errorf("locked:\n%+v\nunlocked:\n%+v", p, unlocked)
	}
	if p.Epoch != apttest.Epoch().Unix() {
		t.Errorf("epoch %d", p.Epoch)
	}
	if p := newTestPlan(t, c, Request{File: f}); p.Targets[0].Packages.Root[0].Version != "2" {
		t.Errorf("without the lock: %+v", p.Targets[0].Packages.Root)
	}
}

func TestLockUpdate(t *testing.T) {
	const more = "  packages: {suite: test, include: [app, tool, lib]}"
	for name, x := range map[string]struct {
		later   string // what is added to the archive after locking
		include string // replaces the line with the packages
		update  Update
		want    string
	}{
		"as it is":            {"app=2 tool=2", "", Update{}, "app=1 tool=1"},
		"all":                 {"app=2 tool=2", "", Update{All: true}, "app=2 tool=2"},
		"one":                 {"app=2 tool=2", "", Update{Names: []string{"tool"}}, "app=1 tool=2"},
		"changed definition":  {"app=2 tool=2 lib=2", more, Update{}, "app=1 lib=2 tool=1"},
		"changed, and update": {"app=2 tool=2 lib=2", more, Update{Names: []string{"app"}}, "app=2 lib=2 tool=1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, lockable)
			repo := packagesNamed("app=1 tool=1")
			c := repoConfig(t, repo)
			old := written(t, newTestLock(t, c, f, nil, Update{}))
			for _, word := range strings.Fields(x.later) {
				name, version, _ := strings.Cut(word, "=")
				repo.Add(apttest.Deb{Name: name, Version: version, Arch: "all"})
			}
			repo.Date = repo.Date.Add(time.Minute)
			repo.Publish()
			if x.include != "" {
				f = parse(t, strings.Replace(lockable, "  packages: {suite: test, include: [app, tool]}", x.include, 1))
			}
			l := newTestLock(t, c, f, old, x.update)
			for _, a := range arch.All() {
				if got := versions(l, a.Name); got != x.want {
					t.Errorf("%s: %s, want %s", a.Name, got, x.want)
				}
			}
			if drift := l.drift(f, arch.Names()); drift != nil {
				t.Errorf("the new lock doesn't fit: %q", drift)
			}
		})
	}
}

func TestLockRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		later  func(*apttest.Repo) *apttest.Repo
		update Update
		want   string // "": nothing is refused
	}{
		"older release": {func(r *apttest.Repo) *apttest.Repo { r.Date = r.Date.Add(-time.Hour); r.Publish(); return r },
			Update{All: true}, `reading suite "test": its release is dated 2023-11-14T21:13:20Z, and that of the lock 2023-11-14T22:13:20Z; choose a mirror`},
		"older release, allowed": {func(r *apttest.Repo) *apttest.Repo { r.Date = r.Date.Add(-time.Hour); r.Publish(); return r },
			Update{All: true, AllowDowngrade: true}, ""},
		"package to stay is gone": {func(r *apttest.Repo) *apttest.Repo {
			other := packagesNamed("app=2 tool=2")
			other.Key = r.Key
			other.Publish()
			return other
		}, Update{Names: []string{"app"}}, `the archive no longer has tool 1 (it has 2); update these as well: tool`},
		"unknown package": {func(r *apttest.Repo) *apttest.Repo { return r },
			Update{Names: []string{"tol"}}, `updating "tol": no such package is locked; did you mean "tool"?`},
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, lockable)
			repo := packagesNamed("app=1 tool=1")
			old := written(t, newTestLock(t, repoConfig(t, repo), f, nil, Update{}))
			_, err := NewLock(t.Context(), repoConfig(t, x.later(repo)), f, old, x.update)
			if x.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v lacks %q", err, x.want)
			}
		})
	}
	_, err := NewLock(t.Context(), testConfig(t), parse(t, lockable), nil, Update{Names: []string{"app"}})
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "nothing is locked yet") {
		t.Errorf("without a lock: %v", err)
	}
}

func TestCheckDowngrade(t *testing.T) {
	at := func(minute int) time.Time { return apttest.Epoch().Add(time.Duration(minute) * time.Minute) }
	packages := func(date int, further ...apt.Release) Packages {
		return Packages{Suite: "test", ReleaseDate: at(date), Repositories: further}
	}
	for name, x := range map[string]struct {
		locked, found Packages
		want          string
	}{
		"newer":             {packages(1), packages(2), ""},
		"same":              {packages(1), packages(1), ""},
		"older":             {packages(2), packages(1), `suite "test"`},
		"further suite":     {packages(1, apt.Release{Suite: "extra", Date: at(5)}), packages(2, apt.Release{Suite: "extra", Date: at(4)}), `suite "extra"`},
		"another suite":     {packages(1, apt.Release{Suite: "extra", Date: at(5)}), packages(2, apt.Release{Suite: "other", Date: at(4)}), ""},
		"one suite fewer":   {packages(1, apt.Release{Suite: "extra", Date: at(5)}), packages(1), ""},
		"one suite further": {packages(1), packages(1, apt.Release{Suite: "extra", Date: at(0)}), ""},
	} {
		err := checkDowngrade(x.locked, x.found)
		if (err == nil) != (x.want == "") || err != nil && (!strings.Contains(err.Error(), x.want) || fault.ClassOf(err) != fault.Input) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
}

func TestDrift(t *testing.T) {
	const base = "name: demo\narchitectures: [amd64]\nroot:\n  packages: {suite: test, include: [app]}\nkernel: {package: linux-image-test}\n"
	for name, x := range map[string]struct {
		text string
		want []string
	}{
		"nothing": {base, nil},
		"what doesn't matter": {strings.NewReplacer("demo", "other", "{suite", "{mirror: 'http://mirror.example.org/x', suite").Replace(base) +
			"cmdline: [quiet]\nfamilies: [raw]\ndisk: {size: 4GiB}\n", nil},
		"packages": {strings.Replace(base, "[app]", "[tool, lib]", 1), []string{`platform.yaml:4: root.packages.include: "tool" is new, "lib" is new, "app" is gone`}},
		"one each": {strings.Replace(base, "[app]", "[tool]", 1), []string{`root.packages.include: "tool" was "app"`}},
		"suite and kernel": {strings.NewReplacer("suite: test", "suite: stable", "linux-image-test", "linux-image-other").Replace(base),
			[]string{`platform.yaml:5: kernel.package: "linux-image-other" was "linux-image-test"`, `platform.yaml:4: root.packages.suite: "stable" was "test"`}},
		"modules":         {strings.Replace(base, "kernel: {", "kernel: {modules: initramfs, ", 1), []string{`kernel.modules: "initramfs" was "root"`}},
		"keyring":         {strings.Replace(base, "{suite", "{keyring: k.gpg, suite", 1), []string{`root.packages.keyring: "k.gpg" is new`}},
		"repository":      {strings.Replace(base, "{suite", "{repositories: [{suite: extra}], suite", 1), []string{`root.packages.repositories[0].suite: "extra" is new`}},
		"architecture":    {strings.Replace(base, "[amd64]", "[amd64, arm64]", 1), []string{"platform.yaml:2: architectures: arm64 is not in the lock"}},
		"source, at last": {"name: demo\narchitectures: [amd64]\nroot: {archive: {path: x.tar}}\n", []string{`root.archive.path: "x.tar" is new`, `"test" is gone`, `kernel.package: "linux-image-test" is gone`}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLock(t, repoConfig(t, packagesNamed("app=1")), parse(t, base), nil, Update{})
			f := parse(t, x.text)
			got := l.drift(f, f.Architectures)
			if (got == nil) != (x.want == nil) {
				t.Errorf("drift %q, want %q", got, x.want)
			}
			for _, want := range x.want {
				if !strings.Contains(strings.Join(got, "\n"), want) {
					t.Errorf("drift %q lacks %q", got, want)
				}
			}
		})
	}
}

// With a lock that doesn't fit, a plan fails when it has to be locked, and else
// says so and looks everything up; but never from an older release.
func TestDriftedPlan(t *testing.T) {
	f := parse(t, lockable)
	repo := packagesNamed("app=1 tool=1 lib=1")
	c := repoConfig(t, repo)
	l := written(t, newTestLock(t, c, f, nil, Update{}))
	f = parse(t, strings.Replace(lockable, "tool]", "tool, lib]", 1))

	_, err := NewPlan(t.Context(), c, Request{File: f, Lock: l, Locked: true})
	var drift *Drift
	if !errors.As(err, &drift) || len(drift.Causes) != 1 || fault.ClassOf(err) != fault.Input || !strings.HasSuffix(err.Error(), "; run bootsmith lock") {
		t.Errorf("locked: %v", err)
	}
	var said []string
	c.Report = func(e Event) { said = append(said, e.Detail) }
	p := newTestPlan(t, c, Request{File: f, Lock: l})
	if p.LockSHA256 != "" || len(p.Targets[0].Packages.Root) != 4 {
		t.Errorf("not locked: %+v", p)
	}
	if len(said) != 1 || !strings.Contains(said[0], `"lib" is new`) {
		t.Errorf("it said %q", said)
	}
	repo.Date = repo.Date.Add(-time.Hour)
	repo.Publish()
	if _, err = NewPlan(t.Context(), c, Request{File: f, Lock: l}); err == nil || !strings.Contains(err.Error(), "and that of the lock") {
		t.Errorf("older release: %v", err)
	}
}

// Sources other than packages are locked by what they hold.
func TestLockedSources(t *testing.T) {
	put := func(t *testing.T, text string, elem ...string) {
		t.Helper()
		path := filepath.Join(elem...)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, x := range map[string]struct {
		text   string
		change func(t *testing.T, dir string, n int)
		timed  string // file whose time doesn't count
		want   string
	}{
		"archive": {"root:\n  archive: {path: root.tar}\n",
			func(t *testing.T, dir string, n int) { writeTar(t, filepath.Join(dir, "root.tar"), fmt.Sprint(n)) },
			"root.tar", ":4: root.archive: for amd64 it is sha256:"},
		"script": {"root:\n  script: {path: make}\n",
			func(t *testing.T, dir string, n int) { put(t, fmt.Sprintf("#!/bin/sh\nexit %d\n", n), dir, "make") },
			"make", ":4: root.script: for amd64 it is sha256:"},
		"directory": {"root:\n  directory: {path: tree}\n",
			func(t *testing.T, dir string, n int) { put(t, fmt.Sprint(n), dir, "tree/file") },
			"tree/file", ":4: root.directory: for amd64 it is sha256:"},
		"image": {"root:\n  image: {reference: \"oci:layout\"}\n",
			func(t *testing.T, dir string, _ int) {
				if err := os.RemoveAll(filepath.Join(dir, "layout")); err != nil {
					t.Fatal(err)
				}
				writeLayout(t, filepath.Join(dir, "layout"))
			}, "layout/index.json", ":4: root.image: for amd64 it is sha256:"},
		"kernel": {"root: {archive: {path: root.tar}}\nkernel: {files: {image: vmlinuz, version: \"6.1\"}}\n",
			func(t *testing.T, dir string, n int) {
				writeTar(t, filepath.Join(dir, "root.tar"), "same")
				put(t, peImage()+fmt.Sprint(n), dir, "vmlinuz")
			}, "vmlinuz", ":4: kernel.files: for amd64 they are sha256:"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), hostConfig(t)
			x.change(t, dir, 1)
			f := define(t, dir, "name: demo\narchitectures: [amd64]\n"+x.text)
			l := written(t, newTestLock(t, c, f, nil, Update{}))
			r := Request{File: f, Lock: l, Locked: true, SourceDateEpoch: "1700000000"}
			if err := os.Chtimes(filepath.Join(dir, x.timed), time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
			if p := newTestPlan(t, c, r); p.LockSHA256 == "" {
				t.Error("the lock isn't used")
			}
			if err := CheckLock(t.Context(), c, r); err != nil {
				t.Error(err)
			}
			x.change(t, dir, 2)
			_, err := NewPlan(t.Context(), c, r)
			for _, err := range []error{err, CheckLock(t.Context(), c, r)} {
				var drift *Drift
				if !errors.As(err, &drift) || !strings.Contains(err.Error(), "platform.yaml"+x.want) {
					t.Errorf("changed: %v", err)
				}
			}
			r.Lock = written(t, newTestLock(t, c, f, l, Update{}))
			newTestPlan(t, c, r)
		})
	}
}

// A lock that is a symlink stays one.
func TestWriteLinkedLock(t *testing.T) {
	dir := t.TempDir()
	link, target := filepath.Join(dir, "platform.lock"), filepath.Join(dir, "shared.lock")
	if err := errors.Join(os.WriteFile(target, nil, 0o644), os.Symlink("shared.lock", link)); err != nil {
		t.Fatal(err)
	}
	if err := (&Lock{FormatVersion: lockVersion}).Write(link); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != "shared.lock" {
		t.Errorf("the link is %q, %v", to, err)
	}
	if _, err := ReadLock(target); err != nil {
		t.Error(err)
	}
}

func TestReadLockRefuses(t *testing.T) {
	if _, err := ReadLock(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) || fault.ClassOf(err) != fault.Input {
		t.Errorf("no file: %v", err)
	}
	const pkg = `{"name":"a","version":"1","arch":"amd64","size":1,"sha256":"` + "%064d" + `","pool_path":"%s"}`
	target := func(arch, path string) string {
		return `{"format_version":1,"targets":[{"arch":"` + arch + `","packages":{"root":[` + fmt.Sprintf(pkg, 0, path) + `]}}]}`
	}
	for name, x := range map[string]struct{ text, want string }{
		"no JSON":          {"{", "unexpected end"},
		"newer form":       {`{"format_version":2}`, "version 2, and this bootsmith knows 1; use the bootsmith that wrote it, or a newer one"},
		"unknown field":    {`{"format_version":1,"extra":1}`, "extra"},
		"more behind it":   {`{"format_version":1}{}`, "after top-level value"},
		"unknown arch":     {target("mips", "pool/a"), "mips"},
		"path leaves":      {target("amd64", "../../etc/passwd"), "malformed"},
		"for another arch": {target("arm64", "pool/a"), "stands there for arm64"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "platform.lock")
			if err := os.WriteFile(path, []byte(x.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := ReadLock(path)
			if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "platform.lock") || strings.Contains(err.Error(), "delete it") == strings.Contains(err.Error(), "newer one") {
				t.Errorf("%v lacks %q", err, x.want)
			}
		})
	}
}

// What is parsed can be written, and is read as the same again.
func FuzzParseLock(f *testing.F) {
	golden, err := os.ReadFile("testdata/platform.lock")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"format_version":1,"asked":{"x{":["a{","}"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLock(data)
		if err != nil {
			return
		}
		first, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseLock(first)
		if err != nil {
			t.Fatalf("%v in\n%s", err, first)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%v; first\n%s, then\n%s", err, first, second)
		}
	})
}
