package ocilayout

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

// rewrite changes the documents of a layout, so that their digests stay right.
func rewrite(t testing.TB, dir string, change func(o *Opened)) {
	t.Helper()
	o, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	change(o)
	config := putBlob(t, dir, encoded(t, o.Config))
	o.Manifest.Config.Digest, o.Manifest.Config.Size = hash(config.SHA256), config.Size
	manifest := putBlob(t, dir, encoded(t, o.Manifest))
	index, err := Image{Arch: "amd64"}.Index(manifest, "latest")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, IndexFile), index)
}

func encoded(t testing.TB, document any) []byte {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func putBlob(t testing.TB, dir string, data []byte) Blob {
	t.Helper()
	b := NewBlob(data)
	writeFile(t, filepath.Join(dir, BlobPath(b.SHA256)), data)
	return b
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Layers of other programs may be compressed in other ways.
func TestCompressions(t *testing.T) {
	data := tarOf(t, tar.Header{Name: "file"})
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	if _, err := zip.Write(data); err != nil || zip.Close() != nil {
		t.Fatal(err)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for mediaType, layer := range map[types.MediaType][]byte{
		types.OCILayer: zipped.Bytes(), types.DockerLayer: zipped.Bytes(),
		types.OCILayerZStd: encoder.EncodeAll(data, nil), types.OCIUncompressedLayer: data,
	} {
		dir, _ := writeImage(t)
		b := putBlob(t, dir, layer)
		rewrite(t, dir, func(o *Opened) {
			o.Manifest.Layers = []v1.Descriptor{{MediaType: mediaType, Size: b.Size, Digest: hash(b.SHA256)}}
			o.Config.RootFS.DiffIDs = []v1.Hash{hash(NewBlob(data).SHA256)}
		})
		got, err := read(t, dir, &Digests{})
		if err != nil || paths(t, got) != "/ file" {
			t.Errorf("%s: %v", mediaType, err)
		}
	}
}

// Documents with the right digests may still say what can't be true.
func TestOpenRefusesDocuments(t *testing.T) {
	none := strings.Repeat("0", 64)
	for want, change := range map[string]func(o *Opened){
		`the media type "text/plain" is not known`:       func(o *Opened) { o.Manifest.Layers[0].MediaType = "text/plain" },
		"the configuration says " + none:                 func(o *Opened) { o.Config.RootFS.DiffIDs[0].Hex = none },
		"the manifest has 1 layers, the configuration 0": func(o *Opened) { o.Config.RootFS.DiffIDs = nil },
		"no such file":       func(o *Opened) { o.Manifest.Layers[0].Digest.Hex = none },
		"unsupported hash":   func(o *Opened) { o.Manifest.Layers[0].Digest.Algorithm = "sha512" },
		"invalid tar header": func(o *Opened) { o.Manifest.Layers[0].MediaType = types.OCIUncompressedLayer },
		"magic number":       func(o *Opened) { o.Manifest.Layers[0].MediaType = types.OCILayerZStd },
	} {
		dir, _ := writeImage(t)
		rewrite(t, dir, change)
		if _, err := read(t, dir, &Digests{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestOpenRefusesIndexes(t *testing.T) {
	escape := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: v1.Hash{Algorithm: "sha256", Hex: "../../../etc/passwd"}}
	for want, index := range map[string][]byte{
		"does not name one image manifest": encoded(t, v1.IndexManifest{}),
		"too large for a document":         bytes.Repeat([]byte(" "), maxDocument+1),
		"reading index.json":               []byte("{"),
		"non-hex character":                encoded(t, v1.IndexManifest{Manifests: []v1.Descriptor{escape}}),
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, IndexFile), index)
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
}

// What fn says about a layer is what Layer says.
func TestLayerPassesErrors(t *testing.T) {
	dir, _ := writeImage(t)
	image, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := errors.New("enough")
	if err := image.Layer(t.Context(), 0, func(io.Reader) error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

// Check refuses what would come out of an image as something else.
func TestCheck(t *testing.T) {
	for want, i := range map[string]struct {
		path string
		tree.Inode
	}{
		`adding "a/.wh.b": in a container image, a name`:     {"a/" + Whiteout("b"), text(0, "")},
		`adding "null": in a container image, the device`:    {"null", tree.Inode{Mode: tree.TypeChar}},
		`adding "sock": a container image can't hold a sock`: {"sock", tree.Inode{Mode: tree.TypeSocket}},
	} {
		root := tree.New(0)
		put(t, root, "fine", tree.Inode{Mode: tree.TypeBlock})
		if err := Check(root); err != nil {
			t.Errorf("a block device 0:0: %v", err)
		}
		put(t, root, i.path, i.Inode)
		if err := Check(root); err == nil || !strings.Contains(err.Error(), want) || fault.ClassOf(err) != fault.Input {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestApplyRefusesHeaders(t *testing.T) {
	for want, i := range map[string]tar.Header{
		"owner -1:0":  {Name: "x", Typeflag: tar.TypeDir, Uid: -1, Format: tar.FormatGNU},
		"device -1:0": {Name: "x", Typeflag: tar.TypeChar, Devmajor: -1, Format: tar.FormatGNU},
	} {
		if err := Apply(tree.New(0), bytes.NewReader(tarOf(t, i)), &Digests{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	// An opaque directory that nobody has made deletes nothing.
	root := tree.New(0)
	if err := Apply(root, bytes.NewReader(tarOf(t, tar.Header{Name: "none/.wh..wh..opq"})), &Digests{}); err != nil || paths(t, root) != "/" {
		t.Errorf("an opaque whiteout of nothing: %v, %s", err, paths(t, root))
	}
}

// Contents that are kept are bounded; the digests with SHA-512 are those of the
// same bytes.
func TestDigests(t *testing.T) {
	d := &Digests{Keep: func(path string) bool { return path != "other" }, Wide: true}
	large := strings.Repeat("x", maxKept+1)
	for path, data := range map[string]string{"small": "tiny", "kept": large[:100], "large": large, "other": large[:200]} {
		c, size, err := d.Put(path, strings.NewReader(data))
		if err != nil || size != int64(len(data)) || c.Verity != fsverity.Sum([]byte(data)) {
			t.Errorf("%s: %+v, %d, %v", path, c, size, err)
		}
		r, err := d.Open(c)
		if wanted := path == "small" || path == "kept"; wanted != (err == nil) || !wanted && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opening %s: %v", path, err)
		} else if err == nil {
			if got, err := io.ReadAll(r); err != nil || string(got) != data {
				t.Errorf("%s: %q, %v", path, got, err)
			}
		}
		want := fsverity.New512()
		want.Write([]byte(data))
		if sum, err := d.Object(c); path == "small" {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a small file is an object: %v", err)
			}
		} else if err != nil || sum != want.Sum() {
			t.Errorf("%s: SHA-512 %x, %v", path, sum, err)
		}
	}
	if _, _, err := d.Put("bad", iotest.ErrReader(fs.ErrInvalid)); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a file that can't be read: %v", err)
	}
}

// full takes some bytes and fails then, as a full disk does.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestWriteLayerToFullDisk(t *testing.T) {
	root := tree.New(0)
	put(t, root, "file", text(3, "one"))
	var whole bytes.Buffer
	if _, err := WriteLayer(t.Context(), &whole, root, texts{}); err != nil {
		t.Fatal(err)
	}
	for room := range whole.Len() {
		if _, err := WriteLayer(t.Context(), &full{room}, root, texts{}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("room for %d of %d bytes: %v", room, whole.Len(), err)
		}
	}
	if string(Layout()) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("%s", Layout())
	}
}

// FuzzOpen replaces index, manifest and configuration.
func FuzzOpen(f *testing.F) {
	dir, _ := writeImage(f)
	o, err := Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded(f, o.Manifest), encoded(f, o.Config))
	f.Add([]byte(`{"layers":[{"digest":"sha256:`+strings.Repeat("0", 64)+`"}]}`), []byte(`{"rootfs":{"diff_ids":["sha256:../x"]}}`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
			t.Fatal(err)
		}
		c := putBlob(t, dir, config)
		var m v1.Manifest
		if json.Unmarshal(manifest, &m) != nil {
			return
		}
		m.Config.Digest = hash(c.SHA256)
		index, err := Image{}.Index(putBlob(t, dir, encoded(t, m)), "x")
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, IndexFile), index)
		image, err := Open(dir)
		if err != nil {
			return
		}
		for n := range image.Manifest.Layers {
			_ = image.Layer(t.Context(), n, func(r io.Reader) error { return Apply(tree.New(0), r, &Digests{}) })
		}
	})
}
