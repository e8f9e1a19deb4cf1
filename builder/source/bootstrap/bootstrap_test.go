package bootstrap

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/builder/source/control"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

const epoch = 1_700_000_000

// debs are files of packages, by name.
type debs map[string][]byte

func (d debs) Open(_ context.Context, p apt.Package) (*os.File, error) {
	f, err := os.CreateTemp("", "")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(d[p.Name]); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, 0)
	return f, err
}

func newStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func lookup(t testing.TB, name string) arch.Arch {
	t.Helper()
	a, err := arch.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// status is dpkg's database of the two packages.
const status = "Package: app\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0\n\n" +
	"Package: lib\nStatus: install ok installed\nArchitecture: all\nVersion: 2:1.5\n"

// fixture is a source of two packages, whose mmdebstrap is a script.
type fixture struct {
	Source
	bin string // folder of tools
	log *[]string
}

func newFixture(t *testing.T, mmdebstrap string) fixture {
	t.Helper()
	dir := t.TempDir()
	f := fixture{bin: filepath.Join(dir, "bin"), log: new([]string)}
	temp := filepath.Join(dir, "tmp")
	for _, d := range []string{f.bin, temp} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"mmdebstrap", "apt-get", "dpkg-deb"} {
		if err := os.WriteFile(filepath.Join(f.bin, name), []byte("#!/bin/sh\n"+mmdebstrap), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	archive := debs{}
	for _, d := range []apttest.Deb{
		{Name: "app", Fields: []string{"Depends: lib", "SHA256: nonsense"}, Files: []apttest.Member{apttest.File("./usr/bin/app", "x")}},
		{Name: "lib", Version: "2:1.5", Arch: "all", Fields: []string{"Essential: yes"}},
	} {
		archive[d.Name] = d.Bytes()
	}
	f.Source = Source{
		Packages: []apt.Package{
			{Name: "app", Version: "1.0", Arch: "amd64", Size: int64(len(archive["app"])), SHA256: fmt.Sprintf("%x", sha256.Sum256(archive["app"]))},
			{Name: "lib", Version: "2:1.5", Arch: "all", Size: int64(len(archive["lib"])), SHA256: fmt.Sprintf("%x", sha256.Sum256(archive["lib"]))},
		},
		Archive: archive, Platform: "demo", Arch: lookup(t, "amd64"), Timeout: time.Minute,
		Host:   Host{Root: os.DirFS("/"), Arch: "amd64", SearchPath: f.bin, TempDir: temp, Now: time.Now},
		Limits: source.Limits{Entries: 1000, Bytes: 1 << 20},
		Log:    func(line string) { *f.log = append(*f.log, line) },
	}
	return f
}

// pack is the part of a script that writes a folder's tar archive.
const pack = "mkdir -p r/var/lib/dpkg; cat > r/var/lib/dpkg/status <<'X'\n" + status + "X\ntar -C r -cf - .\n"

func (f fixture) read(t *testing.T) (*tree.Tree, *store.Store, error) {
	t.Helper()
	s := newStore(t)
	pin, err := f.Pin(t.Context(), s, epoch)
	if err != nil {
		return nil, s, err
	}
	root, err := f.Read(t.Context(), s, epoch, pin)
	if left, _ := os.ReadDir(f.Host.TempDir); len(left) > 0 {
		t.Errorf("%q was left behind", left[0].Name())
	}
	return root, s, err
}

// mmdebstrap gets the packages as a repository that holds these and no others.
func TestRepository(t *testing.T) {
	out := t.TempDir()
	f := newFixture(t, "umask 022\nenv > "+out+"/env; printf '%s\\n' \"$@\" > "+out+"/args; cp -rp repository hook* "+out+"; echo working >&2\n"+pack)
	hook := filepath.Join(t.TempDir(), "customize.sh")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ntrue\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.Hooks = []Hook{{Stage: "customize", Path: hook, Field: "x"}}
	if _, _, err := f.read(t); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(*f.log, "working") {
		t.Errorf("the log is %q", *f.log)
	}
	args := read(t, out, "args")
	for _, want := range []string{"--mode=unshare", "--architectures=amd64", "--include=app,lib", "\n\n-\ndeb [trusted=yes] copy:" + f.Host.TempDir, "--setup-hook=/", "--customize-hook=/"} {
		if !strings.Contains(args, want) {
			t.Errorf("the arguments lack %q:\n%s", want, args)
		}
	}
	env := read(t, out, "env")
	for _, want := range []string{"ARCH=amd64", "SOURCE_DATE_EPOCH=1700000000", "BOOTSMITH_PLATFORM=demo", "BOOTSMITH_MACHINE=x86_64", "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/root"} {
		if !strings.Contains("\n"+env, "\n"+want+"\n") {
			t.Errorf("the environment lacks %q:\n%s", want, env)
		}
	}
	if n := strings.Count(env, "\n"); n > 12 {
		t.Errorf("the environment has %d variables:\n%s", n, env)
	}
	index, err := control.ReadStanzas(strings.NewReader(read(t, out, "repository/Packages")))
	if err != nil || len(index) != 2 {
		t.Fatalf("%d packages, %v", len(index), err)
	}
	for i, p := range f.Packages {
		if index[i].Get("Package") != p.Name || index[i].Get("SHA256") != p.SHA256 || index[i].Get("Version") != p.Version {
			t.Errorf("stanza %d is %+v", i, index[i])
		}
		file := filepath.Join(out, "repository", index[i].Get("Filename"))
		if info, err := os.Stat(file); err != nil || info.Size() != p.Size || info.Mode().Perm() != 0o644 {
			t.Errorf("the package's file: %v %v", info, err)
		}
	}
	if index[1].Get("Essential") != "yes" || index[0].Get("Depends") != "lib" {
		t.Errorf("fields are missing: %+v", index)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(read(t, out, "repository/Packages")))); !strings.Contains(read(t, out, "repository/Release"), sum) {
		t.Error("Release lacks the index")
	}
	if info, err := os.Stat(filepath.Join(out, "hook-1-customize")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the hook: %v %v", info, err)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReadFaults(t *testing.T) {
	without := func(s, line string) string { return strings.Replace(s, line, "", 1) }
	for _, x := range []struct {
		name, script string
		class        fault.Class
		words        []string
	}{
		{"failure", "echo 'dpkg: error processing package app (--configure):' >&2\necho 'E: setup failed' >&2\necho 'E: mmdebstrap failed to run' >&2\nexit 25\n", fault.Build,
			[]string{"bootstrapping the root: dpkg: error processing package app", "exit status 25"}},
		{"full disk", "echo 'dpkg: error processing archive a.deb (--install):' >&2\necho ' cannot copy data: failed to write (No space left on device)' >&2\nexit 25\n", fault.Build,
			[]string{"failed to write (No space left on device)", "set TMPDIR to another"}},
		{"failure without a word", "exit 3\n", fault.Build, []string{"exit status 3"}},
		{"nothing", "exit 0\n", fault.Build, []string{"it wrote nothing to standard output"}},
		{"cut off", "printf x\n", fault.Build, []string{"standard output"}},
		{"missing package", strings.Replace(pack, status, without(status, status[:strings.Index(status, "\n\n")+2]), 1), fault.Build, []string{`["app"] are missing`}},
		{"further package", strings.Replace(pack, status, status+"\nPackage: x\nStatus: install ok installed\nArchitecture: all\nVersion: 3\n", 1), fault.Build, []string{"x 3 is not in the plan"}},
		{"other version", strings.Replace(pack, "Version: 1.0", "Version: 1.1", 1), fault.Build, []string{"app is 1.1", "the plan has 1.0"}},
		{"other architecture", strings.Replace(pack, "Architecture: amd64", "Architecture: arm64", 1), fault.Build, []string{"app is 1.0 for arm64"}},
		{"half installed", strings.Replace(pack, "ok installed", "ok half-configured", 1), fault.Build, []string{`the state of app is "install ok half-configured"`}},
		{"no database", "mkdir r; tar -C r -cf - .\n", fault.Build, []string{"checking what mmdebstrap installed", "var/lib/dpkg"}},
		{"bomb", "mkdir r; head -c 3000000 /dev/zero > r/x; tar -C r -cf - .\n", fault.Build, []string{"exceeds", "1048576 bytes"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, _, err := newFixture(t, x.script).read(t)
			wantFault(t, err, x.class, x.words...)
		})
	}
}

func wantFault(t *testing.T, err error, class fault.Class, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if fault.ClassOf(err) != class {
		t.Errorf("class %d, want %d: %v", fault.ClassOf(err), class, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error lacks %q: %v", w, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %q", err)
	}
}

// Hooks may install further packages, but no other version of the plan's.
func TestHooksMayInstall(t *testing.T) {
	more := strings.Replace(pack, status, status+"\nPackage: x\nStatus: install ok installed\nArchitecture: all\nVersion: 3\n", 1)
	for script, ok := range map[string]bool{more: true, strings.Replace(more, "Version: 1.0", "Version: 9", 1): false} {
		f := newFixture(t, script)
		f.Hooks = []Hook{{"customize", filepath.Join(f.bin, "apt-get"), "x"}}
		if _, _, err := f.read(t); (err == nil) != ok {
			t.Errorf("got %v", err)
		}
	}
}

func TestHookFaults(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{filepath.Join(dir, "none"): "correct root.bootstrap.hooks.setup[0]", dir: "it is not a file", plain: "run chmod +x on it"} {
		f := newFixture(t, pack)
		f.Hooks = []Hook{{"setup", path, "root.bootstrap.hooks.setup[0]"}}
		_, err := f.Pin(t.Context(), nil, 0)
		wantFault(t, err, fault.Input, path, words)
	}
	f := newFixture(t, pack)
	before, err := f.Pin(t.Context(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Hooks = []Hook{{"extract", filepath.Join(f.bin, "apt-get"), "x"}}
	after, err := f.Pin(t.Context(), nil, 0)
	if err != nil || after == before || !strings.HasPrefix(after, "sha256:") {
		t.Errorf("with a hook the pin is %q, %v", after, err)
	}
	_, err = f.Read(t.Context(), newStore(t), epoch, before)
	wantFault(t, err, fault.Input, "a hook has changed since the plan was made")
}

// A bootstrap that takes too long, or is interrupted, may clean up first.
func TestTimeLimit(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "cleaned")
	f := newFixture(t, "trap 'touch "+marker+"; exit 1' TERM\nsleep 60 & wait\n")
	f.Timeout = 300 * time.Millisecond
	start := time.Now()
	_, _, err := f.read(t)
	wantFault(t, err, fault.Build, "it took longer than 300ms", "raise root.bootstrap.timeout")
	if _, err := os.Stat(marker); err != nil || time.Since(start) > 20*time.Second {
		t.Errorf("it did not clean up: %v, after %s", err, time.Since(start))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	f = newFixture(t, "sleep 60\n")
	pin, err := f.Pin(ctx, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(ctx, newStore(t), epoch, pin); err == nil {
		t.Error("no error")
	}
}
