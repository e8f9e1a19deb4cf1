//go:build boot

package vm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/composefs/oracle"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

// image is a container image that was pulled from a registry.
type image struct {
	layout string // OCI layout
	rootfs string // all layers, unpacked by umoci
	// verified is the root alone, unpacked by tar: what the image's root digest
	// is about.
	verified string
	digest   string // the label with the root digest
}

// unpacked pushes the image to a registry, has other people's programs pull and
// unpack it and make a disk of it, and boots that with the image's own kernel,
// initramfs and kernel parameters.
func (l *lab) unpacked(t *testing.T, r row, a arch.Arch) guest {
	t.Helper()
	dir := filepath.Join(l.builds[r.Kernel], a.Name)
	img := l.pull(t, filepath.Join(dir, "oci"), "minimal-"+r.Kernel+":"+a.Name)
	if want := readManifest(t, dir).ComposefsDigest; img.digest != want {
		t.Fatalf("the image's label has the root digest %s, want %s", img.digest, want)
	}
	disk, params := img.disk(t, a)
	modules := glob(t, filepath.Join(img.rootfs, "usr/lib/modules/*/vmlinuz"))
	args := append(vm.Base(a, 0), vm.Direct(a, modules, filepath.Join(filepath.Dir(modules), "initramfs.img"), img.kargs(t)+" "+params)...)
	args = append(args, "-drive", "if=none,id=d0,readonly=on,format=raw,file="+vm.Escape(disk), "-device", "virtio-blk-pci,drive=d0")
	return guest{args: args, digest: img.digest}
}

// pull copies a layout to the registry and from there to another one.
func (l *lab) pull(t *testing.T, layout, name string) image {
	t.Helper()
	dir := t.TempDir()
	img := image{layout: filepath.Join(dir, "layout"), rootfs: filepath.Join(dir, "bundle", "rootfs"), verified: filepath.Join(dir, "verified")}
	ref := "docker://" + l.registry + "/" + name
	run(t, "skopeo", "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "oci:"+layout+":latest", ref)
	run(t, "skopeo", "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", ref, "oci:"+img.layout+":latest")
	run(t, "umoci", "umoci", "unpack", "--image", img.layout+":latest", filepath.Dir(img.rootfs))
	img.unpackRoot(t)
	return img
}

// descriptor is what is read of OCI documents.
type descriptor struct {
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

// unpackRoot unpacks the layers that are annotated as the root's.
func (img *image) unpackRoot(t *testing.T) {
	t.Helper()
	var index struct{ Manifests []descriptor }
	readJSON(t, filepath.Join(img.layout, "index.json"), &index)
	if len(index.Manifests) != 1 {
		t.Fatalf("the layout has %d images", len(index.Manifests))
	}
	var m struct {
		Config descriptor
		Layers []descriptor
	}
	readJSON(t, img.blob(index.Manifests[0]), &m)
	var config struct {
		Config struct{ Labels map[string]string }
	}
	readJSON(t, img.blob(m.Config), &config)
	img.digest = config.Config.Labels["dev.powernode.bootsmith.composefs"]

	if err := os.Mkdir(img.verified, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, layer := range m.Layers {
		if layer.Annotations["dev.powernode.bootsmith.layer"] == "root" {
			run(t, "tar", "tar", "--numeric-owner", "--same-owner", "-p", "--xattrs", "--xattrs-include=*",
				"-C", img.verified, "-xzf", img.blob(layer))
		}
	}
}

func (img *image) blob(d descriptor) string {
	return filepath.Join(img.layout, "blobs", strings.Replace(d.Digest, ":", "/", 1))
}

// kargs returns the kernel parameters that the image asks bootc for.
func (img *image) kargs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(glob(t, filepath.Join(img.rootfs, "usr/lib/bootc/kargs.d/*.toml")))
	if err != nil {
		t.Fatal(err)
	}
	list, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "kargs = ")
	var kargs []string
	if err := json.Unmarshal([]byte(list), &kargs); !ok || err != nil {
		t.Fatalf("kargs.d says %q: %v", text, err)
	}
	return strings.Join(kargs, " ")
}

// disk makes a disk of the root: composefs by mkcomposefs, EROFS by mkfs.erofs,
// the hash tree by veritysetup, the partition by sgdisk. It returns the kernel
// parameters that belong to it.
func (img *image) disk(t *testing.T, a arch.Arch) (path, params string) {
	t.Helper()
	mkcomposefs, err := oracle.Find(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root, part := filepath.Join(dir, "root"), filepath.Join(dir, "root.erofs")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	digest, err := mkcomposefs.FromFolder(context.Background(), img.verified, filepath.Join(root, "objects"), filepath.Join(root, "root.cfs"))
	if err != nil {
		t.Fatal(err)
	}
	if digest != img.digest {
		t.Fatalf("mkcomposefs makes %s of the layers, the label says %s", digest, img.digest)
	}
	run(t, "erofs-utils", "mkfs.erofs", "--quiet", part, root)
	blocks := size(t, part) / block
	verity := run(t, "cryptsetup-bin", "veritysetup", "format", "--salt=-", "--hash-offset="+strconv.FormatInt(blocks*block, 10), part, part)
	hash := regexp.MustCompile(`Root hash:\s+([0-9a-f]{64})`).FindStringSubmatch(verity)
	if hash == nil {
		t.Fatalf("veritysetup said %q", verity)
	}
	return partitioned(t, a, part), fmt.Sprintf("composefs=%s bootsmith.roothash=%s bootsmith.rootblocks=%d", digest, hash[1], blocks)
}

// partitioned returns a disk with one partition.
func partitioned(t *testing.T, a arch.Arch, part string) string {
	t.Helper()
	const first, sector = 2048, 512
	disk := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sectors := size(t, part) / sector
	if err := f.Truncate((sectors + 2*first) * sector); err != nil {
		t.Fatal(err)
	}
	run(t, "gdisk", "sgdisk", "-n", fmt.Sprintf("1:%d:%d", first, first+sectors-1), "-t", "1:"+a.RootType, "-c", "1:root", disk)
	if _, err := f.Seek(first*sector, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	appendTo(t, f, part)
	return disk
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// glob returns the one file that fits.
func glob(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: found %q", pattern, found)
	}
	return found[0]
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("reading %q: %v", path, err)
	}
}
