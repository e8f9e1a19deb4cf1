package families

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

// ociRoot is a root with everything that a layer can hold.
func ociRoot(t testing.TB, in *Input) {
	t.Helper()
	in.Tree = tree.New(in.Epoch.Unix())
	in.Tree.Root.Inode.Xattrs = map[string]string{"user.root": "yes"}
	put := func(name string, i tree.Inode) {
		t.Helper()
		i.Mtime += in.Epoch.Unix()
		if err := in.Tree.Put(name, &i); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string, mode uint32, data string, i tree.Inode) {
		t.Helper()
		var err error
		if i.Content, i.Size, err = in.Store.Put(strings.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		i.Mode = tree.TypeRegular | mode
		put(name, i)
	}
	put("usr", tree.Inode{Mode: tree.TypeDir | 0o750, UID: 7, GID: 8, Mtime: -100, MtimeNsec: 5})
	put("usr/lib", tree.Inode{Mode: tree.TypeDir | 0o2755, Xattrs: map[string]string{"user.dir": "lib"}})
	put("lib", tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "usr/lib"})
	file("usr/bin/program", 0o4755, strings.Repeat("#!program\n", 100_000), tree.Inode{Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14)}})
	file("usr/lib/"+strings.Repeat("long/", 30)+strings.Repeat("n", 200), 0o644, "long path", tree.Inode{})
	file("usr/share/naïve 漢", 0o644, strings.Repeat("not ASCII", 50), tree.Inode{UID: 1000, GID: 3_000_000, MtimeNsec: 123_456_789})
	file("etc/empty", 0o600, "", tree.Inode{Mtime: -1_000_000_000})
	file("usr/lib/modules/"+in.KernelVersion+"/modules.builtin", 0o644, "kernel/x.ko\n", tree.Inode{})
	file("boot/vmlinuz-"+in.KernelVersion, 0o644, "kernel", tree.Inode{})
	file("boot/grub/grub.cfg", 0o644, "menu", tree.Inode{})
	put("var/run", tree.Inode{Mode: tree.TypeDir | 0o755})
	put("usr/bin/link", tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "program"})
	put("usr/fifo", tree.Inode{Mode: tree.TypeFifo | 0o600})
	put("usr/null", tree.Inode{Mode: tree.TypeChar | 0o666, Major: 1, Minor: 3})
	put("tmp", tree.Inode{Mode: tree.TypeDir | 0o1777})
	for _, name := range []string{"usr/bin/another", "a-first-link"} {
		if err := in.Tree.Link("usr/bin/program", name); err != nil {
			t.Fatal(err)
		}
	}
}

func ociInput(t testing.TB, archName string) Input {
	t.Helper()
	in := testInput(t, archName)
	ociRoot(t, &in)
	in.Cmdline += ` quiet dyndbg="file a.c +p"`
	return in
}

func TestOCIDocuments(t *testing.T) {
	for _, a := range arch.All() {
		t.Run(a.Name, func(t *testing.T) {
			in := ociInput(t, a.Name)
			sink, dir := build(t, oci{}, in)
			image, manifest := openImage(t, dir)
			if err := validate.Image(image); err != nil {
				t.Error(err)
			}
			digest, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			main, err := sink.Main()
			if err != nil || main.SHA256 != digest.Hex || main.Name != "blobs/sha256/"+digest.Hex {
				t.Errorf("main file %+v (%v), want the manifest %v", main, err, digest)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.OS != "linux" || config.Architecture != a.Name || !config.Created.Equal(in.Epoch) || fmt.Sprint(config.Config.Cmd) != "[/sbin/init]" {
				t.Errorf("configuration %+v", config)
			}
			for name, want := range map[string]string{
				"containers.bootc": "1", "ostree.bootable": "1", "org.opencontainers.image.title": "minimal",
				ociComposefs: in.RootDigest, ociRootHash: in.RootHash, ociRevision: in.Revision, ociCreated: "2026-11-22T10:20:30Z",
			} {
				if got := config.Config.Labels[name]; got != want {
					t.Errorf("label %s = %q, want %q", name, got, want)
				}
			}
			for name, want := range map[string]string{ociPlatform: "minimal", ociArch: a.Name, ociFamily: "oci", ociComposefs: in.RootDigest, ociRootHash: in.RootHash} {
				if got := manifest.Annotations[name]; got != want {
					t.Errorf("annotation %s = %q, want %q", name, got, want)
				}
			}
		})
	}
}

func openImage(t *testing.T, dir string) (v1.Image, *v1.Manifest) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := index.IndexManifest()
	if err != nil || len(entries.Manifests) != 1 {
		t.Fatalf("%+v, %v", entries, err)
	}
	image, err := index.Image(entries.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return image, manifest
}

// TestOCITools gives the image to skopeo and umoci.
func TestOCITools(t *testing.T) {
	in := ociInput(t, "amd64")
	_, dir := build(t, oci{}, in)
	if out := foreign.Run(t, "skopeo", "skopeo", "inspect", "oci:"+dir); !strings.Contains(out, `"containers.bootc": "1"`) {
		t.Errorf("skopeo inspect: %s", out)
	}
	foreign.Run(t, "skopeo", "skopeo", "--insecure-policy", "copy", "oci:"+dir, "dir:"+t.TempDir())
	bundle := filepath.Join(t.TempDir(), "bundle")
	foreign.Run(t, "umoci", "umoci", "unpack", "--rootless", "--image", dir, bundle)
	t.Cleanup(func() { makeWritable(t, bundle) })

	want := tree.New(0)
	for _, name := range layerNames(t, dir, "") {
		apply(t, want, in.Store, filepath.Join(dir, name))
	}
	err := want.Walk(func(path string, n *tree.Node) error {
		return compareUnpacked(filepath.Join(bundle, "rootfs", path), n.Inode, in.Store)
	})
	if err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(bundle, "rootfs", "boot")); err != nil || len(left) > 0 {
		t.Errorf("/boot holds %v (%v)", left, err)
	}
}

func makeWritable(t *testing.T, dir string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// compareUnpacked compares what an ordinary user can unpack: not owners,
// devices and privileged attributes.
func compareUnpacked(path string, i *tree.Inode, contents *store.Store) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if i.Type() == tree.TypeChar {
		return nil
	}
	if !i.IsSymlink() && (uint32(info.Mode().Perm()) != i.Mode&0o777 || info.ModTime().Unix() != i.Mtime || info.ModTime().Nanosecond() != int(i.MtimeNsec)) {
		return fmt.Errorf("%s: mode %v, time %v, want %o, %d.%09d", path, info.Mode(), info.ModTime(), i.Mode, i.Mtime, i.MtimeNsec)
	}
	switch {
	case i.IsSymlink():
		if target, err := os.Readlink(path); err != nil || target != i.Target {
			return fmt.Errorf("%s: leads to %q (%v), want %q", path, target, err, i.Target)
		}
	case i.IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if c, size, err := contents.Put(f); err != nil || size != i.Size || c.SHA256 != i.Content.SHA256 {
			return fmt.Errorf("%s: another content (%v)", path, err)
		}
	case i.IsDir() != info.IsDir():
		return fmt.Errorf("%s: is a %v", path, info.Mode())
	}
	return nil
}

func TestOCIErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		path  string
		inode tree.Inode
		want  string
	}{
		"whiteout name": {"usr/.wh.file", tree.Inode{Mode: tree.TypeRegular}, `begins with ".wh."`},
		"whiteout":      {"usr/x", tree.Inode{Mode: tree.TypeChar}, "device 0:0"},
		"socket":        {"usr/x", tree.Inode{Mode: tree.TypeSocket}, "socket"},
		"two kernels":   {"usr/lib/modules/5.0/vmlinuz", tree.Inode{Mode: tree.TypeRegular}, `kernel "5.0" beside`},
		"ostree":        {"ostree", tree.Inode{Mode: tree.TypeDir}, "not a symbolic link to sysroot/ostree"},
		"sysroot":       {"sysroot", tree.Inode{Mode: tree.TypeRegular}, "/sysroot of the root is not a directory"},
		"usr":           {"usr/lib/bootc", tree.Inode{Mode: tree.TypeRegular}, "/usr/lib/bootc of the root is not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			in := ociInput(t, "amd64")
			if err := in.Tree.Put(tc.path, &tc.inode); err != nil {
				t.Fatal(err)
			}
			sink := NewSink(t.TempDir())
			defer sink.Close()
			wantFault(t, oci{}.Build(t.Context(), in, sink), fault.Input, tc.want)
		})
	}
}
