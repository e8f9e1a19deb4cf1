package publish

import (
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// packed is a manifest's bytes and descriptor.
type packed struct {
	desc ocispec.Descriptor
	raw  []byte
}

// packArtifact makes the manifest of an artifact: equal bytes for equal files.
func packArtifact(a *artifact, extra ...ocispec.Descriptor) (packed, error) {
	var layers []ocispec.Descriptor
	for _, f := range a.files {
		layers = append(layers, f.descriptor())
	}
	return pack(ocispec.Manifest{
		ArtifactType: ArtifactType,
		Layers:       append(layers, extra...),
		Annotations:  a.annotations(),
	})
}

func (a *artifact) annotations() map[string]string {
	m := a.build.manifest
	out := map[string]string{
		ocispec.AnnotationCreated:  stamp(m.Created),
		ocispec.AnnotationRevision: m.GitSHA,
		AnnotationPlatform:         m.Platform,
		AnnotationArch:             m.Arch,
		AnnotationFamily:           a.family.Name,
		AnnotationComposefs:        m.ComposefsDigest,
		AnnotationRootHash:         m.RootHash,
	}
	return out
}

// pack completes a manifest without a configuration (OCI image specification
// 1.1, "Guidelines for Artifact Usage") and encodes it.
func pack(m ocispec.Manifest) (packed, error) {
	m.Versioned = specs.Versioned{SchemaVersion: 2}
	m.MediaType = ocispec.MediaTypeImageManifest
	m.Config = ocispec.DescriptorEmptyJSON
	raw, err := json.Marshal(m)
	if err != nil {
		return packed{}, err
	}
	desc := content.NewDescriptorFromBytes(m.MediaType, raw)
	desc.ArtifactType = m.ArtifactType
	return packed{desc: desc, raw: raw}, nil
}

func (f file) descriptor() ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: f.mediaType, Digest: digest.NewDigestFromEncoded(digest.SHA256, f.sha256), Size: f.size}
	if f.title != "" {
		d.Annotations = map[string]string{ocispec.AnnotationTitle: f.title}
	}
	return d
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
