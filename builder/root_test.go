package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	gcrlayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/image"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/tree"
)

// hostConfig is a Config whose sources run as the test does.
func hostConfig(t *testing.T) Config {
	c := testConfig(t)
	c.UID, c.GID, c.SearchPath = uint32(os.Getuid()), uint32(os.Getgid()), os.Getenv("PATH")
	return c
}

// rootOf plans a definition and reads the first target's root.
func rootOf(t *testing.T, c Config, f *spec.File) (*Plan, *tree.Tree, error) {
	t.Helper()
	p, err := NewPlan(context.Background(), c, Request{File: f, SourceDateEpoch: "1700000000"})
	if err != nil {
		return nil, nil, err
	}
	b, err := newTargetBuild(c, f, p, p.Targets[0], t.TempDir())
	if err != nil {
		return p, nil, err
	}
	root, err := b.readRoot(context.Background())
	return p, root, err
}

func define(t *testing.T, dir, text string) *spec.File {
	t.Helper()
	path := filepath.Join(dir, spec.FileName)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := spec.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func writeTar(t *testing.T, path, content string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "etc/motd", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Each source's state is in the plan: another state is another plan, and a
// state other than the planned one is not built.
func TestSourcesArePinned(t *testing.T) {
	for name, x := range map[string]struct {
		root   string
		change func(t *testing.T, dir, text string)
	}{
		"archive": {"archive: {path: \"root-${arch}.tar\"}", func(t *testing.T, dir, text string) {
			writeTar(t, filepath.Join(dir, "root-amd64.tar"), text)
		}},
		"directory": {"directory: {path: tree}", func(t *testing.T, dir, text string) {
			if err := os.MkdirAll(filepath.Join(dir, "tree/etc"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "tree/etc/motd"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		"script": {"script: {path: make.sh, output: root}", func(t *testing.T, dir, text string) {
			script := "#!/bin/sh -e\nmkdir \"$BOOTSMITH_ROOT/etc\"\nprintf %s '" + text + "' >\"$BOOTSMITH_ROOT/etc/motd\"\n"
			if err := os.WriteFile(filepath.Join(dir, "make.sh"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, dir := hostConfig(t), t.TempDir()
			x.change(t, dir, "one")
			f := define(t, dir, "name: demo\narchitectures: [amd64]\nroot:\n  "+x.root+"\n")
			first, root, err := rootOf(t, c, f)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := root.Lookup("etc/motd"); err != nil || string(n.Inode.Content.Inline) != "one" {
				t.Errorf("etc/motd is %+v, %v", n, err)
			}
			if pin := first.Targets[0].Root; pin == nil || pin.Source != name || !strings.HasPrefix(pin.Digest, "sha256:") {
				t.Errorf("the plan says %+v", pin)
			}
			x.change(t, dir, "two")
			b, err := newTargetBuild(c, f, first, asWritten(t, first).Targets[0], t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.readRoot(context.Background()); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "has changed since the plan") {
				t.Errorf("a changed source: %v", err)
			}
			second, _, err := rootOf(t, c, f)
			if err != nil || first.Digest() == second.Digest() {
				t.Errorf("the plans of two states are equal, or %v", err)
			}
		})
	}
}

// asWritten returns a plan as it is read from a file.
func asWritten(t *testing.T, p *Plan) *Plan {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if p, err = ParsePlan(text); err != nil {
		t.Fatal(err)
	}
	return p
}

// A folder is read once: what is built is what was planned.
func TestFoldersAreReadOnce(t *testing.T) {
	c, dir := hostConfig(t), t.TempDir()
	motd := filepath.Join(dir, "root/etc/motd")
	if err := os.MkdirAll(filepath.Dir(motd), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(motd, []byte(strings.Repeat("one", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	f := define(t, dir, "name: demo\narchitectures: [amd64]\nroot: {directory: {path: root}}\n")
	plan, before, err := rootOf(t, c, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	b, err := newTargetBuild(c, f, plan, plan.Targets[0], t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	after, err := b.readRoot(context.Background())
	if err != nil || source.Digest(after) != source.Digest(before) {
		t.Errorf("another root, or %v", err)
	}
}

// Limits are the definition's.
func TestLimitsAreTheDefinitions(t *testing.T) {
	dir := t.TempDir()
	writeTar(t, filepath.Join(dir, "root.tar"), strings.Repeat("x", 2<<20))
	for _, limits := range []string{"{size: 1MiB}", "{size: 1GiB, files: 0}"} {
		f := define(t, dir, "name: demo\narchitectures: [amd64]\nroot: {archive: {path: root.tar}, limits: "+limits+"}\n")
		_, _, err := rootOf(t, hostConfig(t), f)
		if refused := err != nil; refused != strings.Contains(limits, "MiB") {
			t.Errorf("%s: %v", limits, err)
		}
	}
}

func TestPlanWithoutADateRefuses(t *testing.T) {
	dir := t.TempDir()
	writeTar(t, filepath.Join(dir, "root.tar"), "x")
	f := define(t, dir, "name: demo\narchitectures: [amd64]\nroot: {archive: {path: root.tar}}\n")
	if _, err := NewPlan(context.Background(), testConfig(t), Request{File: f}); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "set SOURCE_DATE_EPOCH") {
		t.Errorf("got %v", err)
	}
}

// The kernel of another source's root comes from an archive only when one is
// named.
func TestKernelsArchive(t *testing.T) {
	dir := t.TempDir()
	writeTar(t, filepath.Join(dir, "root.tar"), "x")
	const text = "name: demo\narchitectures: [amd64]\nroot: {archive: {path: root.tar}}\n"
	for kernel, want := range map[string][2]int{
		"":                          {0, 0},
		"kernel: {suite: trixie}\n": {0, 1},
		"kernel: {suite: trixie, package: \"linux-image-${arch}\"}\n": {1, 1},
	} {
		p, err := NewPlan(context.Background(), testConfig(t), Request{File: define(t, dir, text+kernel), SourceDateEpoch: "1"})
		if err != nil {
			t.Fatal(err)
		}
		got := p.Targets[0].Packages
		if len(got.Kernel) != want[0] || len(got.Stub) != want[1] || kernel == "" && got.snapshot() != "" {
			t.Errorf("%q: %+v", kernel, got)
		}
	}
}

func TestMissingStubSaysWhatToDo(t *testing.T) {
	b := &targetBuild{planned: planned{arch: arch.All()[0]}}
	if _, err := b.findStub(tree.New(0), tree.New(0)); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "kernel.suite") {
		t.Errorf("got %v", err)
	}
}

// The sample of a build script gives the same root every time.
func TestScriptSample(t *testing.T) {
	f, err := spec.Read("../fixtures/platforms/script-sample")
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range arch.All() {
		f.Architectures = []string{a.Name}
		var digests []string
		for range 2 {
			_, root, err := rootOf(t, hostConfig(t), f)
			if err != nil {
				t.Fatal(err)
			}
			n, err := root.Resolve("sbin/init")
			if err != nil || n.Inode.Mode != tree.TypeRegular|0o755 || n.Inode.UID != 0 || n.Inode.Mtime != 1700000000 {
				t.Errorf("init is %+v, %v", n, err)
			}
			digests = append(digests, source.Digest(root))
		}
		if digests[0] != digests[1] {
			t.Errorf("target %d: two runs differ", i)
		}
	}
}

// writeLayout makes an OCI image layout with an image of noise for amd64, and
// returns the image's digest.
func writeLayout(t *testing.T, layout string) v1.Hash {
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
	config.OS, config.Architecture, config.Created.Time = "linux", "amd64", time.Unix(1500000000, 0)
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	path, err := gcrlayout.Write(layout, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// The image that a root comes from is the manifest's base image, and dates the
// build.
func TestImageIsTheBase(t *testing.T) {
	dir := t.TempDir()
	layout := filepath.Join(dir, "layout")
	digest := writeLayout(t, layout)
	for _, reference := range []string{"oci:./layout", "oci:layout@" + digest.String(), "registry.example.com/base@" + digest.String()} {
		c := hostConfig(t)
		c.Images = func(repository string) (image.Blobs, error) {
			if repository != "registry.example.com/base" {
				t.Errorf("the repository is %q", repository)
			}
			return image.Layout{Dir: layout}, nil
		}
		f := define(t, dir, "name: demo\narchitectures: [amd64]\nroot: {image: {reference: \""+reference+"\"}}\n")
		p, err := NewPlan(context.Background(), c, Request{File: f})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Targets[0].baseImage(); got != digest.String() || p.Epoch != 1500000000 {
			t.Errorf("%s: the base image is %s, the epoch %d", reference, got, p.Epoch)
		}
		_, root, err := rootOf(t, c, f)
		if err != nil || len(root.Root.Children()) != 2 {
			t.Errorf("%s: the root has %d files, %v", reference, len(root.Root.Children()), err)
		}
	}
}
