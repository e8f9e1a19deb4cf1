package ocilayout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Names in a layout (image-spec, "Image Layout"), and media types of its files.
const (
	LayoutFile = "oci-layout"
	IndexFile  = "index.json"

	LayoutMediaType   = "application/vnd.oci.layout.header.v1+json"
	IndexMediaType    = string(types.OCIImageIndex)
	ManifestMediaType = string(types.OCIManifestSchema1)
	ConfigMediaType   = string(types.OCIConfigJSON)
	LayerMediaType    = string(types.OCILayer)
)

// refName is the annotation that names an image of a layout.
const refName = "org.opencontainers.image.ref.name"

// BlobPath returns where a layout keeps the blob with a SHA-256 digest in hex.
func BlobPath(sha256 string) string { return "blobs/sha256/" + sha256 }

// Blob is a blob's size in bytes and SHA-256 digest in hex.
type Blob struct {
	SHA256 string
	Size   int64
}

// NewBlob describes bytes.
func NewBlob(data []byte) Blob {
	sum := sha256.Sum256(data)
	return Blob{hex.EncodeToString(sum[:]), int64(len(data))}
}

// Layer is a written layer.
type Layer struct {
	Blob
	DiffID      string            // SHA-256 of the tar in hex
	Comment     string            // for the image's history
	Annotations map[string]string // of the layer's descriptor
}

// Image is what the documents say of an image.
type Image struct {
	Arch        string // Go's name
	Created     time.Time
	Labels      map[string]string // of the configuration
	Annotations map[string]string // of the manifest
	Cmd         []string
	Layers      []Layer // from the lowest
}

// Config returns the image's configuration.
func (i Image) Config() ([]byte, error) {
	created := v1.Time{Time: i.Created.UTC()}
	config := v1.ConfigFile{
		Architecture: i.Arch,
		OS:           "linux",
		Created:      created,
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{Cmd: i.Cmd, Labels: i.Labels},
	}
	for _, l := range i.Layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, hash(l.DiffID))
		config.History = append(config.History, v1.History{Created: created, CreatedBy: "bootsmith", Comment: l.Comment})
	}
	return encode(config)
}

// Manifest returns the image's manifest.
func (i Image) Manifest(config Blob) ([]byte, error) {
	manifest := v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        config.descriptor(types.OCIConfigJSON),
		Annotations:   i.Annotations,
	}
	for _, l := range i.Layers {
		d := l.descriptor(types.OCILayer)
		d.Annotations = l.Annotations
		manifest.Layers = append(manifest.Layers, d)
	}
	return encode(manifest)
}

// Index returns index.json with the one image, named by a tag.
func (i Image) Index(manifest Blob, tag string) ([]byte, error) {
	d := manifest.descriptor(types.OCIManifestSchema1)
	d.Platform = &v1.Platform{OS: "linux", Architecture: i.Arch}
	d.Annotations = map[string]string{refName: tag}
	return encode(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{d}})
}

// Layout returns the file oci-layout.
func Layout() []byte { return []byte(`{"imageLayoutVersion":"1.0.0"}`) }

func (b Blob) descriptor(mediaType types.MediaType) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Size: b.Size, Digest: hash(b.SHA256)}
}

func hash(sha256 string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: sha256} }

func encode(document any) ([]byte, error) {
	data, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encoding an image document: %w", err)
	}
	return data, nil
}
