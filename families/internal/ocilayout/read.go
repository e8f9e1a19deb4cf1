package ocilayout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	stdhash "hash"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Opened is an image in a layout that is being read. Its documents have the
// digests by which they are named.
type Opened struct {
	Digest   string // SHA-256 of the manifest, in hex
	Manifest v1.Manifest
	Config   v1.ConfigFile

	dir string
}

// Bounds of what is read.
const (
	maxDocument = 4 << 20 // bytes
	maxLayers   = 256
)

// Open reads the documents of a layout folder that holds one image.
func Open(dir string) (*Opened, error) {
	o := &Opened{dir: dir}
	if err := o.read(); err != nil {
		return nil, fmt.Errorf("reading the OCI layout %q: %w", dir, err)
	}
	return o, nil
}

func (o *Opened) read() error {
	var index v1.IndexManifest
	raw, err := readBounded(filepath.Join(o.dir, IndexFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("reading %s: %w", IndexFile, err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].MediaType != types.OCIManifestSchema1 {
		return fmt.Errorf("%s does not name one image manifest", IndexFile)
	}
	o.Digest = index.Manifests[0].Digest.Hex
	if err := o.document(index.Manifests[0], &o.Manifest); err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	if err := o.document(o.Manifest.Config, &o.Config); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if n := len(o.Manifest.Layers); n > maxLayers || n != len(o.Config.RootFS.DiffIDs) {
		return fmt.Errorf("the manifest has %d layers, the configuration %d", n, len(o.Config.RootFS.DiffIDs))
	}
	return nil
}

// document reads a JSON document and checks its digest.
func (o *Opened) document(d v1.Descriptor, into any) error {
	path, err := o.blob(d)
	if err != nil {
		return err
	}
	raw, err := readBounded(path)
	if err != nil {
		return err
	}
	if NewBlob(raw).SHA256 != d.Digest.Hex {
		return fmt.Errorf("the blob %s has the SHA-256 digest %s", d.Digest.Hex, NewBlob(raw).SHA256)
	}
	return json.Unmarshal(raw, into)
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// blob returns a blob's path.
func (o *Opened) blob(d v1.Descriptor) (string, error) {
	if d.Digest.Algorithm != "sha256" || !hexDigest.MatchString(d.Digest.Hex) {
		return "", fmt.Errorf("the digest %q is not a SHA-256 digest", d.Digest)
	}
	return filepath.Join(o.dir, filepath.FromSlash(BlobPath(d.Digest.Hex))), nil
}

// Layer calls fn with the tar of a layer, which it reads from front to back. The
// digests of the blob and of the tar are compared with the manifest's and the
// configuration's when fn has returned without an error; what fn has not read is
// read for that.
func (o *Opened) Layer(ctx context.Context, n int, fn func(io.Reader) error) error {
	d := o.Manifest.Layers[n]
	if err := o.readLayer(ctx, d, o.Config.RootFS.DiffIDs[n].Hex, fn); err != nil {
		return fmt.Errorf("reading the layer %s: %w", d.Digest, err)
	}
	return nil
}

func (o *Opened) readLayer(ctx context.Context, d v1.Descriptor, diffID string, fn func(io.Reader) error) error {
	path, err := o.blob(d)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	packed := &hashed{r: contextReader{ctx, f}, sum: sha256.New()}
	r, err := decompress(packed, d.MediaType)
	if err != nil {
		return err
	}
	defer r.Close()
	tar := &hashed{r: r, sum: sha256.New()}
	if err := fn(tar); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, tar); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return err
	}
	if got := packed.hex(); got != d.Digest.Hex {
		return fmt.Errorf("its SHA-256 digest is %s", got)
	}
	if got := tar.hex(); got != diffID {
		return fmt.Errorf("its tar has the SHA-256 digest %s, the configuration says %s", got, diffID)
	}
	return nil
}

// decompress returns the tar of a layer.
func decompress(r io.Reader, mediaType types.MediaType) (io.ReadCloser, error) {
	switch mediaType {
	case types.OCILayer, types.DockerLayer:
		return gzip.NewReader(r)
	case types.OCILayerZStd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case types.OCIUncompressedLayer:
		return io.NopCloser(r), nil
	}
	return nil, fmt.Errorf("the media type %q is not known", mediaType)
}

// hashed hashes what is read through it.
type hashed struct {
	r   io.Reader
	sum stdhash.Hash
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	return n, err
}

func (h *hashed) hex() string { return hex.EncodeToString(h.sum.Sum(nil)) }

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err == nil && len(data) > maxDocument {
		err = errors.New("it is too large for a document")
	}
	return data, err
}
