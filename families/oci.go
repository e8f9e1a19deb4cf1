package families

import (
	"context"
	"fmt"
	"time"

	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/internal/ocilayout"
)

// oci is a container image in an OCI layout that bootc takes as a bootable one:
// the root as it is in every other family, and a layer with what boots it.
type oci struct{}

// Annotations of the image's manifest and labels of its configuration, beside
// those that the OCI image specification names. The manifests of the other
// families carry the same.
const (
	ociPlatform  = "dev.powernode.bootsmith.platform"
	ociArch      = "dev.powernode.bootsmith.arch"
	ociFamily    = "dev.powernode.bootsmith.family"
	ociComposefs = "dev.powernode.bootsmith.composefs" // fs-verity digest of root.cfs
	ociRootHash  = "dev.powernode.bootsmith.roothash"  // dm-verity root hash of root.img
	ociCreated   = "org.opencontainers.image.created"
	ociRevision  = "org.opencontainers.image.revision"
	ociTitle     = "org.opencontainers.image.title"

	// ociLayer annotates a layer's descriptor: "root" or "boot". The root
	// digest can be computed again from the root layers alone.
	ociLayer = "dev.powernode.bootsmith.layer"
)

// ociTag names the image in its layout.
const ociTag = "latest"

// Name implements Family.
func (oci) Name() string { return "oci" }

// Build implements Family.
func (f oci) Build(ctx context.Context, in Input, out *Sink) error {
	if err := ocilayout.Check(in.Tree); err != nil {
		return fmt.Errorf("writing the root as an image layer: %w", err)
	}
	boot, err := newBootLayer(in)
	if err != nil {
		return err
	}
	root, err := out.writeLayer(ctx, in.Tree, in.Store)
	if err != nil {
		return err
	}
	root.Comment, root.Annotations = "root file system", map[string]string{ociLayer: "root"}
	top, err := out.writeLayer(ctx, boot.tree, boot.contents)
	if err != nil {
		return err
	}
	top.Comment, top.Annotations = "kernel "+in.KernelVersion+", initramfs and bootc's files", map[string]string{ociLayer: "boot"}
	return out.writeImage(f.image(in, root, top))
}

// image describes the image. Two labels make it one for bootc: its own, and
// ostree's, for older versions.
func (f oci) image(in Input, layers ...ocilayout.Layer) ocilayout.Image {
	about := func() map[string]string {
		m := map[string]string{
			ociPlatform:  in.Platform,
			ociArch:      in.Arch.Name,
			ociFamily:    f.Name(),
			ociComposefs: in.RootDigest,
			ociRootHash:  in.RootHash,
			ociCreated:   in.Epoch.UTC().Format(time.RFC3339),
		}
		if in.Revision != "" {
			m[ociRevision] = in.Revision
		}
		return m
	}
	labels := about()
	labels[ociTitle] = in.Platform
	labels["containers.bootc"] = "1"
	labels["ostree.bootable"] = "1"
	return ocilayout.Image{
		Arch: in.Arch.Name, Created: in.Epoch,
		Labels: labels, Annotations: about(),
		Cmd:    []string{"/sbin/init"},
		Layers: layers,
	}
}

// writeLayer commits a tree as a layer under its digest.
func (s *Sink) writeLayer(ctx context.Context, t *tree.Tree, contents ocilayout.Opener) (ocilayout.Layer, error) {
	f, err := s.Create()
	if err != nil {
		return ocilayout.Layer{}, err
	}
	diffID, err := ocilayout.WriteLayer(ctx, f, t, contents)
	if err != nil {
		return ocilayout.Layer{}, err
	}
	a, err := f.Commit(ocilayout.BlobPath(f.SHA256()), ocilayout.LayerMediaType)
	return ocilayout.Layer{Blob: ocilayout.Blob{SHA256: a.SHA256, Size: a.Size}, DiffID: diffID}, err
}

// writeImage commits the documents. The manifest is the main file: its digest
// is the image's.
func (s *Sink) writeImage(image ocilayout.Image) error {
	config, err := image.Config()
	if err != nil {
		return err
	}
	manifest, err := image.Manifest(ocilayout.NewBlob(config))
	if err != nil {
		return err
	}
	index, err := image.Index(ocilayout.NewBlob(manifest), ociTag)
	if err != nil {
		return err
	}
	manifestPath := ocilayout.BlobPath(ocilayout.NewBlob(manifest).SHA256)
	s.SetMain(manifestPath)
	for _, d := range []struct {
		name, mediaType string
		data            []byte
	}{
		{ocilayout.BlobPath(ocilayout.NewBlob(config).SHA256), ocilayout.ConfigMediaType, config},
		{manifestPath, ocilayout.ManifestMediaType, manifest},
		{ocilayout.IndexFile, ocilayout.IndexMediaType, index},
		{ocilayout.LayoutFile, ocilayout.LayoutMediaType, ocilayout.Layout()},
	} {
		err := s.write(d.name, d.mediaType, func(f *File) error { _, err := f.Write(d.data); return err })
		if err != nil {
			return fmt.Errorf("writing the image: %w", err)
		}
	}
	return nil
}
