package image_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/image"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families"
)

const epoch = 1700000000

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newRoot is a root with all that a root can have.
func newRoot(t *testing.T, s *store.Store) *tree.Tree {
	t.Helper()
	root := tree.New(epoch)
	file := func(size int) *tree.Inode {
		c, n, err := s.Put(strings.NewReader(strings.Repeat("x", size)))
		must(t, err)
		return &tree.Inode{Mode: tree.TypeRegular | 0o4755, UID: 7, GID: 8, Mtime: epoch - 5, MtimeNsec: 123456789, Size: n, Content: c}
	}
	big := file(100_000)
	big.Xattrs = map[string]string{"security.capability": "\x01\x00\x00", "user.empty": ""}
	must(t, root.Put("usr/bin/big", big))
	must(t, root.Link("usr/bin/big", "usr/sbin/alias"))
	must(t, root.Put("etc/small", file(3)))
	must(t, root.Put("etc/empty", file(0)))
	must(t, root.Put("bin", &tree.Inode{Mode: tree.TypeSymlink | 0o777, Mtime: epoch, Target: "usr/bin"}))
	must(t, root.Put("dev/console", &tree.Inode{Mode: tree.TypeChar | 0o600, Mtime: epoch, Major: 5, Minor: 1}))
	must(t, root.Put("dev/sda", &tree.Inode{Mode: tree.TypeBlock | 0o660, GID: 6, Mtime: epoch, Major: 8}))
	must(t, root.Put("run/pipe", &tree.Inode{Mode: tree.TypeFifo | 0o600, Mtime: epoch}))
	must(t, root.Put("tmp", &tree.Inode{Mode: tree.TypeDir | 0o1777, Mtime: epoch, Xattrs: map[string]string{"user.note": "n\x00"}}))
	return root
}

func rootDigest(t *testing.T, root *tree.Tree) string {
	t.Helper()
	digest, err := composefs.WriteImage(io.Discard, root)
	must(t, err)
	return fmt.Sprintf("%x", digest)
}

func part(t *testing.T, dir, name string) families.Blob {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, []byte(name), 0o600))
	return families.Blob{Path: path, Size: int64(len(name)), SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(name)))}
}

// The root layers of an image that we build give the root again, digest and
// all.
func TestRoundTrip(t *testing.T) {
	s, err := store.Open(t.TempDir())
	must(t, err)
	root := newRoot(t, s)
	dir, parts := t.TempDir(), t.TempDir()
	family, err := families.Lookup("oci")
	must(t, err)
	sink := families.NewSink(dir)
	defer sink.Close()
	must(t, family.Build(context.Background(), families.Input{
		Platform: "demo", Arch: arch.All()[0], KernelVersion: "6.1",
		Kernel: part(t, parts, "vmlinuz"), Initramfs: part(t, parts, "initramfs"), RootImage: part(t, parts, "root.img"), UKI: part(t, parts, "uki"),
		Tree: root, Store: s, Cmdline: "quiet", RootDigest: strings.Repeat("a", 64), RootHash: strings.Repeat("b", 64),
		Epoch: time.Unix(epoch, 0), ID: func(string) [16]byte { return [16]byte{} }, Scratch: t.TempDir(),
	}, sink))

	layout := image.Layout{Dir: dir}
	index, err := layout.Index()
	must(t, err)
	whole := image.Source{Blobs: layout, Index: index, Arch: arch.All()[0], Limits: source.Limits{Entries: 1000, Bytes: 1 << 20}}
	got, err := readImage(t, whole)
	must(t, err)
	if n, err := got.Lookup("usr/lib/modules/6.1/vmlinuz"); err != nil || n.Inode.Size != 7 {
		t.Errorf("the whole image's kernel: %+v, %v", n, err)
	}
	withoutBoot(t, dir)
	index, err = layout.Index()
	must(t, err)
	whole.Index = index
	got, err = readImage(t, whole)
	must(t, err)
	if a, b := rootDigest(t, root), rootDigest(t, got); a != b || source.Digest(root) != source.Digest(got) {
		t.Errorf("the root digest was %s and is %s", a, b)
	}
}

func readImage(t *testing.T, i image.Source) (*tree.Tree, error) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	must(t, err)
	pin, err := i.Pin(context.Background(), s, 0)
	must(t, err)
	return i.Read(context.Background(), s, 0, pin)
}

// withoutBoot replaces the image of a layout by one of its root layers.
func withoutBoot(t *testing.T, dir string) {
	t.Helper()
	read := func(name string, doc any) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		must(t, json.Unmarshal(data, doc))
	}
	write := func(doc any) v1.Descriptor {
		data, err := json.Marshal(doc)
		must(t, err)
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		must(t, os.WriteFile(filepath.Join(dir, "blobs/sha256", sum), data, 0o644))
		return v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: int64(len(data)), Digest: v1.Hash{Algorithm: "sha256", Hex: sum}}
	}
	var index v1.IndexManifest
	read("index.json", &index)
	var m v1.Manifest
	read("blobs/sha256/"+index.Manifests[0].Digest.Hex, &m)
	var config v1.ConfigFile
	read("blobs/sha256/"+m.Config.Digest.Hex, &config)
	var layers []v1.Descriptor
	var diffIDs []v1.Hash
	for i, l := range m.Layers {
		if l.Annotations["dev.powernode.bootsmith.layer"] == "root" {
			layers, diffIDs = append(layers, l), append(diffIDs, config.RootFS.DiffIDs[i])
		}
	}
	if len(layers) == 0 || len(layers) == len(m.Layers) {
		t.Fatalf("%d of %d layers are the root's", len(layers), len(m.Layers))
	}
	config.RootFS.DiffIDs = diffIDs
	c := write(config)
	c.MediaType = types.OCIConfigJSON
	m.Config, m.Layers = c, layers
	index.Manifests = []v1.Descriptor{write(m)}
	data, err := json.Marshal(index)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "index.json"), data, 0o644))
}
