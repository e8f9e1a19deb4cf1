//go:build sources

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/cmd/internal/rootforms"
	"github.com/powernode/bootsmith/families"
	"github.com/powernode/bootsmith/publish/localstack"
)

// kernelArchive names the package archive with the kernel and the EFI stub.
const kernelArchive = "kernel: {suite: trixie, package: \"linux-image-cloud-${arch}\"}\n"

// TestSources builds all families from every kind of source, and gives them to
// other people's programs. The same root, however it comes, has one digest; one
// that was built from packages keeps its own on the way through an image.
func TestSources(t *testing.T) {
	variables := map[string]string{"SOURCE_DATE_EPOCH": rootforms.Epoch}
	for _, v := range network() {
		key, value, _ := strings.Cut(v, "=")
		variables[key] = value
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	build := func(t *testing.T, dir string, flags ...string) artifacts {
		t.Helper()
		output := t.TempDir()
		args := append([]string{"build", "--file", dir, "--output-dir", output, "--cache-dir", filepath.Join(cache, "bootsmith")}, flags...)
		if got := bootsmith(t.Context(), variables, args...); got.Code != 0 {
			t.Fatalf("%q ended with %d:\n%s", args, got.Code, got.stderr)
		}
		return sourceArtifacts(t, output)
	}
	base := build(t, rootforms.WriteBase(t, definitionDir), "--variants", "oci")
	forms := rootforms.Make(t, openFolder(t), filepath.Dir(base.dir))

	whole := map[string]string{
		"layout":  "root: {image: {reference: \"oci:../" + rootforms.Layout + "\"}}\n",
		"pulled":  "root: {image: {reference: \"" + pushForms(t, forms) + "\"}}\n",
		"archive": "root: {archive: {path: ../" + rootforms.Archive + "}}\n",
		"script":  "root: {script: {path: ./build.sh}}\n",
	}
	digests := map[string]string{}
	for name, root := range whole {
		t.Run(name, func(t *testing.T) {
			dir := forms.Define(t, name, root)
			rootforms.Script(t, filepath.Join(dir, "build.sh"), "#!/bin/sh -e\necho copying >&2\nexec cat ../"+rootforms.Archive+" >&3\n")
			a := build(t, dir)
			checkAll(t, a)
			digests[name] = a.manifest.ComposefsDigest
		})
	}
	t.Run("directory", func(t *testing.T) {
		a := buildDirectory(t, forms)
		checkAll(t, a)
		digests["directory"] = a.manifest.ComposefsDigest
	})
	for name, digest := range digests {
		if digest != digests["archive"] {
			t.Errorf("the root of %s has the digest %s, that of the archive %s", name, digest, digests["archive"])
		}
	}
	if digests["archive"] == base.manifest.ComposefsDigest {
		t.Error("the image's own files aren't in the root")
	}

	for name, kernel := range map[string]string{"round-trip": kernelArchive, "round-trip-initramfs": strings.Replace(kernelArchive, "}\n", ", modules: initramfs}\n", 1)} {
		t.Run(name, func(t *testing.T) {
			a := build(t, forms.Define(t, name, "root: {archive: {path: ../"+rootforms.Verified+"}}\n"+kernel))
			checkAll(t, a)
			if a.manifest.ComposefsDigest != base.manifest.ComposefsDigest {
				t.Errorf("the root digest was %s and is %s", base.manifest.ComposefsDigest, a.manifest.ComposefsDigest)
			}
		})
	}
	for name, text := range map[string]string{
		"kernel-in-boot":  "root: {archive: {path: ../" + rootforms.Boot + "}}\n",
		"kernel-in-files": "root: {archive: {path: ../" + rootforms.Bare + "}}\nkernel: {files: {image: ../" + rootforms.Vmlinuz + ", modules: ../" + rootforms.Modules + "}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			a := build(t, forms.Define(t, name, text))
			checkAll(t, a)
			if a.manifest.KernelVersion != forms.Kernel {
				t.Errorf("the kernel is %s, want %s", a.manifest.KernelVersion, forms.Kernel)
			}
		})
	}
}

// openFolder returns an empty folder that every user may enter.
func openFolder(t *testing.T) string {
	t.Helper()
	parent, err := workspace()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(parent, "sources-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sourceArtifacts returns what was built for amd64.
func sourceArtifacts(t *testing.T, output string) artifacts {
	t.Helper()
	a, err := arch.Lookup("amd64")
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Read(filepath.Join(output, a.Name))
	if err != nil {
		t.Fatal(err)
	}
	return artifacts{dir: filepath.Join(output, a.Name), arch: a, manifest: m}
}

// checkAll opens all families, with our reader and others'.
func checkAll(t *testing.T, a artifacts) {
	t.Helper()
	if got := bootsmith(t.Context(), nil, "verify", "--cross", filepath.Dir(a.dir)); got.Code != 0 {
		t.Errorf("verify --cross ended with %d:\n%s", got.Code, got.stderr)
	}
	checks := foreignChecks()
	for _, family := range families.Default() {
		t.Run(family, func(t *testing.T) { checks[family](t, a) })
	}
}

// pushForms pushes the image with zstd layers to a registry, lets an index name
// it beside one for another architecture, and returns the index' reference.
func pushForms(t *testing.T, forms rootforms.Forms) string {
	t.Helper()
	stack, err := localstack.Start(t.Context(), localstack.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stack.Close() })
	repository := stack.Registry + "/acme/base"
	skopeo.run(t, forms.Dir, "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--dest-compress-format", "zstd",
		"oci:"+rootforms.Layout+":latest", "docker://"+repository+":amd64")
	ref, err := name.ParseReference(repository + ":amd64")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	other, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	index := v1.ImageIndex(empty.Index)
	for _, x := range []struct {
		image v1.Image
		arch  string
	}{{other, "arm64"}, {ours, "amd64"}} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: x.image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: x.arch}}})
	}
	if err := remote.WriteIndex(ref.Context().Tag("index"), index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return repository + "@" + digest.String()
}

// buildDirectory unpacks the archive as an ordinary user and builds of that as
// the same user, with a cache of its own and without a network: a map of owners
// makes up for what such a user can't make.
func buildDirectory(t *testing.T, forms rootforms.Forms) artifacts {
	t.Helper()
	dir := forms.Define(t, "directory", "root:\n  directory:\n    path: root\n    owners:\n"+ownersOf(t, forms))
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	work := openFolder(t)
	if err := os.Chmod(work, 0o777); err != nil {
		t.Fatal(err)
	}
	unpack := exec.Command("sh", "-ec", "umask 022; mkdir root; exec tar --extract --no-same-owner --preserve-permissions --directory root --file ../"+rootforms.Archive)
	unpack.Dir = dir
	if os.Geteuid() == 0 {
		unpack.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("unpacking: %v\n%s", err, out)
	}
	h := host{Unprivileged: true, NoNetwork: true, Env: []string{"HOME=/nonexistent", "SOURCE_DATE_EPOCH=" + rootforms.Epoch, "PATH=" + os.Getenv("PATH")}}
	output := filepath.Join(work, "out")
	got, err := h.run(t.Context(), "build", "--file", dir, "--output-dir", output, "--cache-dir", filepath.Join(work, "cache"))
	if err != nil || got.Code != cli.ExitOK {
		t.Fatalf("%v, code %d:\n%s", err, got.Code, got.stderr)
	}
	return sourceArtifacts(t, output)
}

// ownersOf returns a rule for every path whose owner isn't that of its folder.
func ownersOf(t *testing.T, forms rootforms.Forms) string {
	t.Helper()
	var rules strings.Builder
	owners := map[string]string{".": "0/0"}
	for line := range strings.Lines(string(tarTool.run(t, forms.Dir, "--list", "--verbose", "--numeric-owner", "--file", rootforms.Archive))) {
		words := strings.Fields(line)
		path := strings.TrimSuffix(words[5], "/")
		owners[path] = words[1]
		if uid, gid, _ := strings.Cut(words[1], "/"); words[1] != owners[filepath.Dir(path)] {
			fmt.Fprintf(&rules, "      - {path: %q, owner: %s, group: %s}\n", strings.TrimPrefix(path, "."), uid, gid)
		}
	}
	return rules.String()
}
