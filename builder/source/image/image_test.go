package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

var (
	roomy = source.Limits{Entries: 1000, Bytes: 1 << 20}
	amd64 = arch.All()[0]
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	must(t, err)
	return s
}

// layout is a layout that a test makes.
type layout struct {
	t   testing.TB
	dir string
}

func newLayout(t testing.TB) *layout {
	t.Helper()
	l := &layout{t: t, dir: t.TempDir()}
	must(t, os.MkdirAll(filepath.Join(l.dir, "blobs/sha256"), 0o755))
	must(t, os.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	return l
}

func digestOf(data []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(data))}
}

func (l *layout) path(digest v1.Hash) string {
	return filepath.Join(l.dir, "blobs/sha256", digest.Hex)
}

func (l *layout) blob(kind types.MediaType, data []byte) v1.Descriptor {
	l.t.Helper()
	digest := digestOf(data)
	must(l.t, os.WriteFile(l.path(digest), data, 0o644))
	return v1.Descriptor{MediaType: kind, Size: int64(len(data)), Digest: digest}
}

func (l *layout) json(kind types.MediaType, doc any) v1.Descriptor {
	l.t.Helper()
	data, err := json.Marshal(doc)
	must(l.t, err)
	return l.blob(kind, data)
}

// image adds an image of layers that are tar archives; pack compresses them.
func (l *layout) image(archName string, pack func([]byte) []byte, layers ...[]byte) v1.Descriptor {
	l.t.Helper()
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	config := v1.ConfigFile{Architecture: archName, OS: "linux", Created: v1.Time{Time: time.Unix(1600000000, 0)}, RootFS: v1.RootFS{Type: "layers"}}
	for _, layer := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digestOf(layer))
		m.Layers = append(m.Layers, l.blob(types.OCILayer, pack(layer)))
	}
	m.Config = l.json(types.OCIConfigJSON, config)
	d := l.json(types.OCIManifestSchema1, m)
	d.Platform = &v1.Platform{OS: "linux", Architecture: archName}
	return d
}

// list writes index.json.
func (l *layout) list(all ...v1.Descriptor) Source {
	l.t.Helper()
	data, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: all})
	must(l.t, err)
	must(l.t, os.WriteFile(filepath.Join(l.dir, "index.json"), data, 0o644))
	index, err := Layout{l.dir}.Index()
	must(l.t, err)
	return Source{Blobs: Layout{l.dir}, Index: index, Arch: amd64, Limits: roomy}
}

func read(t testing.TB, i Source) (*tree.Tree, error) {
	t.Helper()
	s := newStore(t)
	pin, err := i.Pin(context.Background(), s, 0)
	if err != nil {
		return nil, err
	}
	return i.Read(context.Background(), s, 0, pin)
}

func plain(b []byte) []byte { return b }

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func layerOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		must(t, w.WriteHeader(&h))
		_, err := io.CopyN(w, strings.NewReader(strings.Repeat(h.Name+"|", int(h.Size))), h.Size)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func dir(name string) tar.Header {
	return tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}
}

func file(name string, size int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}
}

func link(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
}

func paths(t *tree.Tree) string {
	var all []string
	_ = t.Walk(func(path string, n *tree.Node) error {
		if n.Inode.IsDir() {
			path += "/"
		}
		all = append(all, path)
		return nil
	})
	return strings.Join(all[1:], " ")
}

func TestLayers(t *testing.T) {
	for name, x := range map[string]struct {
		layers [][]tar.Header
		want   string
	}{
		"whiteout":                {[][]tar.Header{{dir("a"), file("a/x", 1), file("a/y", 1)}, {file("a/.wh.x", 0)}}, "a/ a/y"},
		"whiteout of a directory": {[][]tar.Header{{dir("a"), file("a/x", 1)}, {file(".wh.a", 0)}}, ""},
		"whiteout of nothing":     {[][]tar.Header{{file("b", 1)}, {file("a/.wh.x", 0)}}, "b"},
		"whiteout spares its own layer, whatever the order": {[][]tar.Header{{file("x", 1)}, {file("x", 2), file(".wh.x", 0)}}, "x"},
		"opaque":                           {[][]tar.Header{{dir("a"), file("a/x", 1), file("a/d/y", 1)}, {dir("a"), file("a/z", 1), file("a/.wh..wh..opq", 0)}}, "a/ a/z"},
		"opaque root":                      {[][]tar.Header{{file("x", 1)}, {file(".wh..wh..opq", 0), file("y", 1)}}, "y"},
		"opaque and nothing below":         {[][]tar.Header{{file("x", 1)}, {dir("a"), file("a/.wh..wh..opq", 0)}}, "a/ x"},
		"aufs's files":                     {[][]tar.Header{{file(".wh..wh.aufs", 0), dir(".wh..wh.plnk"), file("x", 1)}}, "x"},
		"file over a directory":            {[][]tar.Header{{dir("a"), file("a/x", 1)}, {file("a", 1)}}, "a"},
		"directory over a file":            {[][]tar.Header{{file("a", 1)}, {dir("a"), file("a/x", 1)}}, "a/ a/x"},
		"directory over a symlink":         {[][]tar.Header{{dir("run"), file("run/pid", 1), symlink("var", "run")}, {dir("var"), file("var/x", 1)}}, "run/ run/pid var/ var/x"},
		"below a symlink":                  {[][]tar.Header{{dir("usr/bin"), symlink("bin", "usr/bin"), file("usr/bin/a", 1)}, {file("bin/b", 1), file("bin/.wh.a", 0)}}, "bin usr/ usr/bin/ usr/bin/b"},
		"symlinks lead nowhere outside":    {[][]tar.Header{{symlink("up", "../../.."), dir("etc")}, {file("up/etc/passwd", 1)}}, "etc/ etc/passwd up"},
		"whiteout below a symlink outside": {[][]tar.Header{{symlink("up", "/../.."), file("x", 1)}, {file("up/.wh.x", 0)}}, "up"},
	} {
		for pack, compress := range map[string]func([]byte) []byte{"plain": plain, "gzip": gzipped, "zstd": zstded} {
			t.Run(name+", "+pack, func(t *testing.T) {
				l := newLayout(t)
				var layers [][]byte
				for _, headers := range x.layers {
					layers = append(layers, layerOf(t, headers...))
				}
				got, err := read(t, l.list(l.image("amd64", compress, layers...)))
				must(t, err)
				if p := paths(got); p != x.want {
					t.Errorf("got %q, want %q", p, x.want)
				}
			})
		}
	}
}

// A hard link may lead to a file of a lower layer, and a file that a layer
// replaces leaves its other names alone.
func TestHardLinksAcrossLayers(t *testing.T) {
	l := newLayout(t)
	got, err := read(t, l.list(l.image("amd64", gzipped,
		layerOf(t, file("a", 200), link("b", "a")),
		layerOf(t, link("c", "a")),
		layerOf(t, file("a", 300)))))
	must(t, err)
	size := func(name string) (int64, int) {
		n, err := got.Lookup(name)
		must(t, err)
		return n.Inode.Size, n.Inode.Links()
	}
	for name, want := range map[string][2]int64{"a": {300, 1}, "b": {200, 2}, "c": {200, 2}} {
		if s, links := size(name); s != want[0] || int64(links) != want[1] {
			t.Errorf("%s has %d bytes and %d links", name, s, links)
		}
	}
}

func TestChoosesByArchitecture(t *testing.T) {
	l := newLayout(t)
	a := l.image("amd64", plain, layerOf(t, file("a", 1)))
	b := l.image("arm64", plain, layerOf(t, file("b", 1)))
	attestation := l.json(types.OCIManifestSchema1, map[string]any{})
	attestation.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	nested := l.json(types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{a, b, attestation}})
	for name, i := range map[string]Source{"flat": l.list(a, b, attestation), "nested": l.list(nested)} {
		for n, want := range []string{"a", "b"} {
			i.Arch = arch.All()[n]
			got, err := read(t, i)
			must(t, err)
			if paths(got) != want {
				t.Errorf("%s: %s got %q", name, i.Arch.Name, paths(got))
			}
		}
	}
	// A layout that other tools gave two tags names an image twice, and no platform.
	bare := a
	bare.Platform = nil
	tagged := l.list(bare, bare)
	tagged.Arch = arch.All()[0]
	got, err := read(t, tagged)
	must(t, err)
	if paths(got) != "a" {
		t.Errorf("two tags: %q", paths(got))
	}
	bareB := b
	bareB.Platform = nil
	two := l.list(bare, bareB)
	two.Arch = arch.All()[0]
	if _, err := read(t, two); err == nil || !strings.Contains(err.Error(), "2 images may be for linux/amd64: ["+a.Digest.String()) {
		t.Errorf("two images without a platform: %v", err)
	}
	i := l.list(a, b)
	i.Digest = nested.Digest
	pin, err := i.Pin(context.Background(), nil, 0)
	if err != nil || pin != a.Digest.String() {
		t.Errorf("Pin = %s, %v", pin, err)
	}
	created, err := i.Created(context.Background())
	if err != nil || created.Unix() != 1600000000 {
		t.Errorf("Created = %s, %v", created, err)
	}
}

func TestRefusesBadImages(t *testing.T) {
	x := layerOf(t, file("x", 600))
	for name, c := range map[string]struct {
		make func(l *layout) Source
		want string
	}{
		"no image for it":      {func(l *layout) Source { return l.list(l.image("arm64", plain, x)) }, "no image for linux/amd64; it has: linux/arm64"},
		"two images for it":    {func(l *layout) Source { return l.list(l.image("amd64", plain, x), l.image("amd64", gzipped, x)) }, "2 images may be for linux/amd64"},
		"empty":                {func(l *layout) Source { return l.list() }, "no image for linux/amd64"},
		"another architecture": {func(l *layout) Source { d := l.image("arm64", plain, x); d.Platform = nil; return l.list(d) }, "it is for linux/arm64, not linux/amd64"},
		"damaged layer": {func(l *layout) Source {
			i := l.list(l.image("amd64", gzipped, x))
			data := gzipped(x)
			data[len(data)/2] ^= 1
			must(t, os.WriteFile(l.path(digestOf(gzipped(x))), data, 0o644))
			return i
		}, "is damaged"},
		"cut layer": {func(l *layout) Source {
			i := l.list(l.image("amd64", plain, x))
			must(t, os.Truncate(l.path(digestOf(x)), 512))
			return i
		}, "is damaged"},
		"longer layer": {func(l *layout) Source {
			i := l.list(l.image("amd64", plain, x))
			must(t, os.WriteFile(l.path(digestOf(x)), append(bytes.Clone(x), 0), 0o644))
			return i
		}, "larger than announced"},
		"damaged manifest": {func(l *layout) Source {
			d := l.image("amd64", plain, x)
			must(t, os.WriteFile(l.path(d.Digest), []byte("{}"), 0o644))
			return l.list(d)
		}, "is damaged"},
		"huge manifest": {func(l *layout) Source {
			d := l.image("amd64", plain, x)
			must(t, os.Truncate(l.path(d.Digest), maxDocument+1))
			return l.list(d)
		}, "larger than announced"},
		"wrong diff ID": {func(l *layout) Source {
			d := l.image("amd64", func([]byte) []byte { return gzipped(layerOf(t, file("y", 1))) }, x)
			return l.list(d)
		}, "its uncompressed digest is"},
		"missing layer": {func(l *layout) Source {
			i := l.list(l.image("amd64", plain, x))
			must(t, os.Remove(l.path(digestOf(x))))
			return i
		}, "no such file"},
		"blob is a symlink": {func(l *layout) Source {
			i := l.list(l.image("amd64", plain, x))
			must(t, os.Remove(l.path(digestOf(x))))
			must(t, os.Symlink("/etc/passwd", l.path(digestOf(x))))
			return i
		}, "path escapes"},
		"loop of indexes": {func(l *layout) Source {
			d := l.image("amd64", plain, x)
			for range maxDepth + 1 {
				d = l.json(types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{d}})
			}
			return l.list(d)
		}, "too often"},
		"artifact": {func(l *layout) Source {
			return l.list(l.json(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: l.blob("application/vnd.oci.empty.v1+json", []byte("{}"))}))
		}, "it is no container image"},
		"parent path":           {bad(file("../x", 1)), "leaves the archive"},
		"absolute path":         {bad(file("/etc/x", 1)), "leaves the archive"},
		"hard link outside":     {bad(link("x", "../../etc/passwd")), "leaves the archive"},
		"dangling hard link":    {bad(link("x", "y")), "does not exist"},
		"symlink loop":          {bad(symlink("a", "b"), symlink("b", "a"), file("a/x", 1)), "too many symbolic links"},
		"whiteout of the root":  {bad(file(".wh..", 0)), "it names no file to delete"},
		"whiteout of a parent":  {bad(file("a/.wh...", 0)), "it names no file to delete"},
		"whiteout without name": {bad(file("a/.wh.", 0)), "it names no file to delete"},
		"overlay's whiteout":    {bad(tar.Header{Name: "x", Typeflag: tar.TypeChar}), "device 0:0"},
		"bomb":                  {bad(file("x", 2<<20)), "exceeds"},
		"huge layer": {func(l *layout) Source {
			layer := l.blob(types.OCILayer, x)
			layer.Size = 1 << 40
			config := l.json(types.OCIConfigJSON, v1.ConfigFile{Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layer.Digest}}})
			return l.list(l.json(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{layer}}))
		}, "it has 1099511627776 bytes, more than the limits allow"},
		"bomb in two layers": {func(l *layout) Source {
			y := layerOf(t, file("y", 700<<10))
			return l.list(l.image("amd64", gzipped, y, y))
		}, "exceeds"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(t, c.make(newLayout(t)))
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.ClassOf(err) != fault.Input {
				t.Errorf("error %v (class %d) lacks %q or its class", err, fault.ClassOf(err), c.want)
			}
		})
	}
}

func bad(headers ...tar.Header) func(l *layout) Source {
	return func(l *layout) Source { return l.list(l.image("amd64", gzipped, layerOf(l.t, headers...))) }
}

// Images made by umoci, copied by skopeo into zstd layers.
func TestForeignImages(t *testing.T) {
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("running %s %q: %v\n%s\ninstall the package %s", name, args, err, out, name)
		}
	}
	rootless := []string{}
	if os.Getuid() != 0 {
		rootless = []string{"--rootless"}
	}
	unpack := append([]string{"unpack", "--image", "l:t"}, rootless...)
	run("umoci", "init", "--layout", "l")
	run("umoci", "new", "--image", "l:t")
	run("umoci", "config", "--image", "l:t", "--architecture", "amd64")
	run("umoci", append(unpack, "one")...)
	root := filepath.Join(dir, "one/rootfs")
	must(t, os.MkdirAll(filepath.Join(root, "usr/lib/gone"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "usr/lib/gone/x"), []byte("x"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "usr/lib/kept"), []byte(strings.Repeat("kept", 100)), 0o755))
	must(t, os.Link(filepath.Join(root, "usr/lib/kept"), filepath.Join(root, "usr/lib/linked")))
	must(t, os.Symlink("usr/lib", filepath.Join(root, "lib")))
	run("umoci", "repack", "--image", "l:t", "one")
	run("umoci", append(unpack, "two")...)
	root = filepath.Join(dir, "two/rootfs")
	must(t, os.RemoveAll(filepath.Join(root, "usr/lib/gone")))
	must(t, os.WriteFile(filepath.Join(root, "usr/lib/new"), []byte("new"), 0o600))
	run("umoci", "repack", "--image", "l:t", "two")
	run("skopeo", "copy", "--insecure-policy", "--dest-compress-format", "zstd", "oci:l:t", "oci:z:t")

	var digests []string
	for _, name := range []string{"l", "z"} {
		layout := Layout{filepath.Join(dir, name)}
		index, err := layout.Index()
		must(t, err)
		got, err := read(t, Source{Blobs: layout, Index: index, Arch: amd64, Limits: roomy})
		must(t, err)
		if p := paths(got); p != "lib usr/ usr/lib/ usr/lib/kept usr/lib/linked usr/lib/new" {
			t.Errorf("%s: got %q", name, p)
		}
		if n, err := got.Lookup("usr/lib/linked"); err != nil || n.Inode.Links() != 2 || n.Inode.Size != 400 {
			t.Errorf("%s: linked is %+v, %v", name, n, err)
		}
		digests = append(digests, source.Digest(got))
	}
	if digests[0] != digests[1] {
		t.Error("zstd layers give another root")
	}
}

func TestCache(t *testing.T) {
	l := newLayout(t)
	i := l.list(l.image("amd64", gzipped, layerOf(t, file("x", 600))))
	cached := Cache{Dir: filepath.Join(t.TempDir(), "images"), Next: i.Blobs}
	i.Blobs = cached
	first, err := read(t, i)
	must(t, err)
	files, err := os.ReadDir(cached.Dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("the cache holds %v, %v", files, err)
	}
	i.Blobs = Cache{Dir: cached.Dir} // offline
	second, err := read(t, i)
	must(t, err)
	if source.Digest(first) != source.Digest(second) {
		t.Error("the cache gives another root")
	}
	for _, f := range files {
		must(t, os.WriteFile(filepath.Join(cached.Dir, f.Name()), []byte("damaged"), 0o644))
	}
	if _, err := read(t, i); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "the build is offline") {
		t.Errorf("a damaged cache, offline: %v", err)
	}
	i.Blobs = cached
	if _, err := read(t, i); err != nil {
		t.Errorf("a damaged cache: %v", err)
	}
}

// What was fetched can be read without the registry.
func TestFetch(t *testing.T) {
	l := newLayout(t)
	i := l.list(l.image("amd64", gzipped, layerOf(t, file("x", 600)), layerOf(t, file("y", 5))), l.image("arm64", plain, layerOf(t)))
	cached := Cache{Dir: filepath.Join(t.TempDir(), "images"), Next: i.Blobs}
	i.Blobs = cached
	pin, err := i.Pin(t.Context(), nil, 0)
	must(t, err)
	must(t, i.Fetch(t.Context(), pin))
	i.Blobs = Cache{Dir: cached.Dir}
	got, err := read(t, i)
	must(t, err)
	if paths(got) != "x y" {
		t.Errorf("the root holds %q", paths(got))
	}
	if err := i.Fetch(t.Context(), "sha256:"+strings.Repeat("0", 64)); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "it is "+pin+" now") {
		t.Errorf("another image: %v", err)
	}
}

// endless is a registry that doesn't stop to send.
type endless struct{ Blobs }

func (endless) Manifest(context.Context, v1.Hash) (io.ReadCloser, error) { return zeros{}, nil }

func (endless) Blob(context.Context, v1.Hash, int64) (io.ReadCloser, error) { return zeros{}, nil }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
func (zeros) Close() error               { return nil }

// No more of a blob is kept than its descriptor announces.
func TestEndlessBlobs(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "images"), Next: endless{}}
	digest := digestOf([]byte("x"))
	_, blobErr := c.Blob(context.Background(), digest, 1000)
	_, manifestErr := c.Manifest(context.Background(), digest)
	for _, err := range []error{blobErr, manifestErr} {
		if err == nil || !strings.Contains(err.Error(), "larger than announced") {
			t.Errorf("got %v", err)
		}
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) != 0 {
		t.Errorf("the cache holds %v, %v", left, err)
	}
}

func FuzzLayer(f *testing.F) {
	f.Add(gzipped(layerOf(f, file("a/x", 3), file("a/.wh.y", 0), file("a/.wh..wh..opq", 0), link("b", "a/x"))))
	s := newStore(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		b := builder{Source: Source{Limits: roomy}, store: s, tree: tree.New(0), left: roomy}
		entries, _ := b.scan(context.Background(), bytes.NewReader(data), v1.Hash{})
		for _, e := range entries {
			_ = b.whiteOut(e) // errors are part of the game
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("a", 64) + `","size":3}]}`))
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if index, err := isIndex(data); err == nil && !index {
			_, _ = parseManifest(data, v1.Hash{})
		}
		i := Source{Blobs: Layout{t.TempDir()}, Index: data, Arch: amd64}
		if _, err := i.Pin(context.Background(), nil, 0); err == nil {
			t.Error("an image was found in an empty layout")
		}
	})
}
