package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/kernel"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/families"
	"github.com/powernode/bootsmith/families/familiestest"
)

// small is a platform whose root, kernel and stub are files of the test, and
// which is built in an instant.
type small struct {
	dir   string // of the definition
	cache string
	text  string // the definition

	revision string
	families []string
}

const smallDefinition = `name: small
architectures: [amd64]
root: {directory: {path: root}}
kernel: {files: {image: vmlinuz, modules: modules}, modules: initramfs}
files: overlay
`

func newSmall(t testing.TB) *small {
	t.Helper()
	s := &small{dir: t.TempDir(), cache: t.TempDir(), text: smallDefinition, revision: "0123456789"}
	a := arch.All()[0]
	var builtin strings.Builder
	for _, name := range kernel.DefaultModules().Required {
		fmt.Fprintf(&builtin, "kernel/%s.ko\n", name)
	}
	s.write(t, "root/"+a.EFIStub, string(familiestest.Program(a.PEMachine, ".text", ".sbat")))
	s.write(t, "root/etc/os-release", "ID=small\n")
	for _, name := range mountPoints {
		s.write(t, "root/"+name+"/.keep", "")
	}
	s.write(t, "root/sbin/init", "init")
	if err := os.Chmod(filepath.Join(s.dir, "root/sbin/init"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write(t, "root/usr/bin/program", strings.Repeat("program", 100_000))
	s.write(t, "vmlinuz", string(familiestest.Program(a.PEMachine, ".text"))+strings.Repeat("kernel", 5000))
	s.write(t, "modules/6.1/modules.builtin", builtin.String())
	s.write(t, "overlay/etc/motd", "hello\n")
	return s
}

func (s *small) write(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// built is what a build did.
type built struct {
	ran, cached []string // stages, sorted
	details     []string
	files       map[string]string
}

// plan reads the definition and plans it. An unchanged one isn't written again:
// builds beside this one may be reading it.
func (s *small) plan(t testing.TB, c Config) (*spec.File, *Plan) {
	t.Helper()
	if old, err := os.ReadFile(filepath.Join(s.dir, spec.FileName)); err != nil || string(old) != s.text {
		s.write(t, spec.FileName, s.text)
	}
	f, err := spec.Read(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(t.Context(), c, Request{File: f, SourceDateEpoch: "1700000000", Revision: s.revision, Families: s.families})
	if err != nil {
		t.Fatal(err)
	}
	return f, p
}

// config returns a configuration whose cache is open until the test ends.
func (s *small) config(t testing.TB, withCache bool) Config {
	t.Helper()
	c := testConfig(t)
	dir := filepath.Join(s.cache, "objects")
	if !withCache {
		dir = t.TempDir()
	}
	var err error
	if c.Store, err = store.Open(dir); err != nil {
		t.Fatal(err)
	}
	c.UID, c.GID, c.SearchPath = uint32(os.Getuid()), uint32(os.Getgid()), os.Getenv("PATH")
	if !withCache {
		return c
	}
	opened, err := cache.Open(t.Context(), s.cache, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	c.Cache, c.Program = opened, "test"
	return c
}

// build builds with a configuration, and checks what was predicted of it.
func (s *small) build(t testing.TB, c Config) built {
	t.Helper()
	var mu sync.Mutex
	var b built
	c.Report = func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		name := strings.TrimPrefix(e.Stage, "amd64/")
		switch e.State {
		case Finished:
			b.ran = append(b.ran, name)
		case Cached:
			b.cached = append(b.cached, name)
		case Progress:
			b.details = append(b.details, e.Detail)
		}
	}
	f, p := s.plan(t, c)
	output := t.TempDir()
	if _, err := Run(t.Context(), c, f, p, output); err != nil {
		t.Fatal(err)
	}
	slices.Sort(b.ran)
	slices.Sort(b.cached)
	b.files = filesOf(t, output)
	return b
}

// filesOf returns the files below a folder by name.
func filesOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (b built) want(t *testing.T, ran, cached string) {
	t.Helper()
	r, c := strings.Fields(ran), strings.Fields(cached)
	slices.Sort(r)
	slices.Sort(c)
	if !slices.Equal(b.ran, r) {
		t.Errorf("these stages ran:\n%q, not\n%q", b.ran, r)
	}
	if !slices.Equal(b.cached, c) {
		t.Errorf("these stages were cached:\n%q, not\n%q", b.cached, c)
	}
}

const (
	allOutputs = "kernel-initrd raw iso ipxe qcow2 oci sbom manifest"
	allStages  = allOutputs + " fetch unpack-root unpack-kernel finish-root root-image kernel initramfs uki begin-oci"
)

// neverKept are stages whose results aren't cached.
var neverKept = []string{"fetch", "firmware", "begin-oci"}

// TestWarmBuildRunsNoStage builds twice, then changes one thing at a time and
// expects exactly those stages to run that depend on it, and the bytes of a build
// without a cache.
func TestWarmBuildRunsNoStage(t *testing.T) {
	s := newSmall(t)
	c := s.config(t, true)
	first := s.build(t, c)
	// Nothing of the root is packages, so that nothing has to be fetched: the
	// stage runs all the same, as the trees need it.
	first.want(t, allStages, "")
	check := func(name, ran, cached string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			warm := s.build(t, s.config(t, true))
			warm.want(t, ran, cached)
			if cold := s.build(t, s.config(t, false)); !maps.Equal(warm.files, cold.files) {
				t.Error("a build without a cache gives other files")
			}
		})
	}
	check("nothing", "", allOutputs)
	s.write(t, "overlay/etc/motd", "another\n")
	check("overlay", "finish-root root-image uki sbom manifest kernel-initrd raw iso ipxe qcow2 begin-oci oci",
		"unpack-root unpack-kernel kernel initramfs")
	check("nothing again", "", allOutputs)
	s.text += "ipxe: {base_url: \"http://boot.example.org/${arch}/\"}\n"
	check("base URL", "ipxe manifest", "kernel-initrd raw iso qcow2 oci sbom kernel initramfs root-image")
	s.revision = "9876543210"
	check("revision", "begin-oci oci sbom manifest", "finish-root kernel initramfs kernel-initrd raw iso qcow2 ipxe")
	s.families = []string{"raw", "ipxe"}
	check("fewer families", "manifest", "raw ipxe sbom")
	s.text += "esp: esp\n"
	s.write(t, "esp/identity.cfg", "id\n")
	check("ESP", "raw manifest", "uki root-image ipxe sbom")
	s.text = strings.Replace(s.text, "kernel:", "cmdline: [quiet]\nkernel:", 1)
	check("command line", "uki raw ipxe manifest", "unpack-kernel finish-root kernel initramfs root-image sbom")
	s.write(t, "vmlinuz", strings.Replace(string(readAll(t, s.dir, "vmlinuz")), "kernelkernel", "KERNELkernel", 1))
	// The modules of the kernel could have been laid into the root.
	check("kernel", allStagesBut("begin-oci oci iso kernel-initrd qcow2"), "")
	s.text = smallDefinition
	s.write(t, "vmlinuz", strings.Replace(string(readAll(t, s.dir, "vmlinuz")), "KERNELkernel", "kernelkernel", 1))
	s.write(t, "overlay/etc/motd", "hello\n")
	s.revision, s.families = "0123456789", nil
	check("back", "", allOutputs)
}

func allStagesBut(left string) string {
	var stages []string
	for _, name := range strings.Fields(allStages) {
		if !slices.Contains(strings.Fields(left), name) {
			stages = append(stages, name)
		}
	}
	return strings.Join(stages, " ")
}

func readAll(t testing.TB, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestStagesPredicts compares what is predicted with what happens.
func TestStagesPredicts(t *testing.T) {
	s := newSmall(t)
	for _, change := range []func(){
		func() {}, func() {}, func() { s.write(t, "overlay/x", "x") }, func() { s.revision = "abcdef0123" },
	} {
		change()
		c := s.config(t, true)
		f, p := s.plan(t, c)
		plan, err := Stages(c, f, p)
		if err != nil {
			t.Fatal(err)
		}
		predicted := map[Action][]string{}
		for _, st := range plan {
			name := strings.TrimPrefix(st.Stage, "amd64/")
			if keyed := !slices.Contains(neverKept, name); keyed != (st.Key != "") {
				t.Errorf("%s has the key %q", name, st.Key)
			}
			predicted[st.Action] = append(predicted[st.Action], name)
		}
		slices.Sort(predicted[Build])
		slices.Sort(predicted[Reuse])
		got := s.build(t, c)
		if !slices.Equal(predicted[Build], got.ran) || !slices.Equal(predicted[Reuse], got.cached) {
			t.Errorf("predicted were %v, but ran\n%q, and were reused\n%q", predicted, got.ran, got.cached)
		}
	}
}

// TestDamagedCache damages each file of the cache in turn, each in one of
// several ways, and expects a build to notice it where it matters, to say so, and
// to give the same files.
func TestDamagedCache(t *testing.T) {
	s := newSmall(t)
	want := s.build(t, s.config(t, true)).files
	files := filesOf(t, s.cache)
	for i, rel := range slices.Sorted(maps.Keys(files)) {
		data := []byte(files[rel])
		if len(data) == 0 {
			continue
		}
		path := filepath.Join(s.cache, rel)
		var err error
		switch i % 4 {
		case 0:
			data[len(data)/2] ^= 1
			err = os.WriteFile(path, data, 0o644)
		case 1:
			err = os.WriteFile(path, data[:len(data)/2], 0o644)
		case 2:
			err = os.WriteFile(path, make([]byte, len(data)), 0o644)
		case 3:
			err = os.Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := s.build(t, s.config(t, true))
		if !maps.Equal(got.files, want) {
			t.Errorf("%s: the build gave other files", rel)
		}
		if i%4 != 3 && len(got.ran) > 0 && len(got.details) == 0 {
			t.Errorf("%s: nothing was said about the damage", rel)
		}
		// Of what a warm build reads, nothing stays damaged.
		if after, err := os.ReadFile(path); len(got.ran) > 0 && (err != nil || string(after) != files[rel]) {
			t.Errorf("%s was not made again: %v", rel, err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(files[rel]), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// A damaged object is found by the stage that reads it; what it came from makes
// it again.
func TestDamagedObject(t *testing.T) {
	s := newSmall(t)
	c := s.config(t, true)
	s.build(t, c)
	objects := filepath.Join(s.cache, "objects")
	damaged := 0
	for rel, data := range filesOf(t, objects) {
		if len(data) > 100_000 {
			damaged++
			if err := os.WriteFile(filepath.Join(objects, rel), []byte(strings.ToUpper(data)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if damaged == 0 {
		t.Fatal("there is no object to damage")
	}
	s.write(t, "overlay/etc/motd", "a third\n")
	got := s.build(t, c)
	// Of two stages that read it at once, the second finds it deleted.
	if !slices.ContainsFunc(got.details, func(d string) bool { return strings.Contains(d, "checking all objects") }) {
		t.Errorf("nothing was said about the damage: %q", got.details)
	}
	if cold := s.build(t, s.config(t, false)); !maps.Equal(got.files, cold.files) {
		t.Error("a build without a cache gives other files")
	}
}

// Where many objects are damaged, as after a power cut, one build mends all.
func TestDamagedObjects(t *testing.T) {
	s := newSmall(t)
	c := s.config(t, true)
	want := s.build(t, c).files
	for rel, data := range filesOf(t, filepath.Join(s.cache, "objects")) {
		if err := os.WriteFile(filepath.Join(s.cache, "objects", rel), make([]byte, len(data)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(s.cache, "stages")); err != nil {
		t.Fatal(err)
	}
	if got := s.build(t, c); !maps.Equal(got.files, want) {
		t.Error("the build gave other files")
	}
}

// TestConcurrentBuilds builds the same and different platforms at once with one
// cache.
func TestConcurrentBuilds(t *testing.T) {
	s := newSmall(t)
	want := s.build(t, s.config(t, false)).files
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if got := s.build(t, s.config(t, true)); !maps.Equal(got.files, want) {
				t.Error("a build beside others gave other files")
			}
		})
	}
	wg.Wait()
}

// TestScriptIsNeverReused runs a build script every time; what comes after it is
// reused when it made the same.
func TestScriptIsNeverReused(t *testing.T) {
	s := newSmall(t)
	s.text = strings.Replace(s.text, "directory: {path: root}", "script: {path: make.sh}", 1)
	s.write(t, "make.sh", "#!/bin/sh\ntar --sort=name --owner=0 --group=0 --mtime=@0 -C root -c . >&3\n")
	if err := os.Chmod(filepath.Join(s.dir, "make.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.build(t, s.config(t, true)).want(t, allStages, "")
	again := s.build(t, s.config(t, true))
	again.want(t, "fetch unpack-root", allOutputs)
	s.write(t, "root/etc/os-release", "ID=other\n") // which the plan doesn't tell
	changed := s.build(t, s.config(t, true))
	changed.want(t, "fetch unpack-root finish-root root-image uki begin-oci "+allOutputs, "unpack-kernel kernel initramfs")
	if maps.Equal(changed.files, again.files) {
		t.Error("another root gave the same files")
	}
}

// A result of another program is another entry.
func TestProgramsDontShare(t *testing.T) {
	s := newSmall(t)
	s.build(t, s.config(t, true))
	c := s.config(t, true)
	c.Program = "other"
	s.build(t, c).want(t, allStages, "")
}

// TestRootImageIsStoredOnce: artifacts that embed it add little to the cache.
func TestRootImageIsStoredOnce(t *testing.T) {
	s := newSmall(t)
	s.families = []string{"kernel-initrd", "raw", "iso"}
	files := s.build(t, s.config(t, true)).files
	image := files["amd64/kernel-initrd/root.img"]
	if len(image) < 700_000 {
		t.Fatalf("the root image has %d bytes", len(image))
	}
	part := image[len(image)/4 : len(image)/2]
	holders := 0
	for name, data := range filesOf(t, filepath.Join(s.cache, "blobs")) {
		if bytes.Contains([]byte(data), []byte(part)) {
			holders++
			t.Logf("blob %s of %d bytes", name, len(data))
		}
	}
	if holders != 1 {
		t.Errorf("%d blobs hold the root image", holders)
	}
}

func BenchmarkWarmBuild(b *testing.B) {
	s := newSmall(b)
	s.write(b, "root/usr/lib/large", strings.Repeat("0123456789abcdef", 4<<20))
	c := s.config(b, true)
	s.build(b, c)
	f, p := s.plan(b, c)
	b.SetBytes(int64(len(families.Default())) * 64 << 20)
	for b.Loop() {
		if _, err := Run(context.Background(), c, f, p, b.TempDir()); err != nil {
			b.Fatal(err)
		}
	}
}

// A module that the kernel lacks is the definition's mistake.
func TestMissingModuleNamesItsField(t *testing.T) {
	s := newSmall(t)
	s.text += "initramfs: {modules: [erofs, nosuch]}\n"
	c := s.config(t, true)
	f, p := s.plan(t, c)
	_, err := Run(t.Context(), c, f, p, filepath.Join(t.TempDir(), "out"))
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), `platform.yaml:6: initramfs.modules[1]: finding module "nosuch"`) {
		t.Errorf("got %v", err)
	}
}
