package families

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/internal/ocilayout"
)

// oci is a container image in an OCI layout that bootc takes as a bootable one:
// the root as it is in every other family, in several layers, the kernel, and a
// layer with what else boots it.
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

	// ociLayer annotates a layer's descriptor. The root digest can be computed
	// again from the root layers alone.
	ociLayer     = "dev.powernode.bootsmith.layer"
	ociLayerRoot = "root"
	ociLayerBoot = "boot"
)

// ociTag names the image in its layout.
const ociTag = "latest"

// Name implements Family.
func (oci) Name() string { return "oci" }

// Parts implements Selective.
func (oci) Parts() []Part { return []Part{PartKernel, PartInitramfs, PartTree, PartRevision} }

// Build implements Family.
func (f oci) Build(ctx context.Context, in Input, out *Sink) error {
	finish, err := f.Begin(ctx, in, out)
	if err != nil {
		return err
	}
	return finish(ctx, in)
}

// Begin implements Early: it writes the layers. The labels name the root's
// digests.
func (f oci) Begin(ctx context.Context, in Input, out *Sink) (Finish, error) {
	layers, seal, err := newLayers(in)
	if err != nil {
		return nil, err
	}
	written, err := out.writeLayers(ctx, layers)
	if err != nil {
		return nil, err
	}
	sealed, err := seal.digest(ctx, layers)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, in Input) error {
		image := f.image(in, written...)
		if sealed != "" {
			image.Annotations[bootc.DigestKey] = sealed
		}
		return out.writeImage(image)
	}, nil
}

// newLayers divides what the image holds into layers. The sealer is for all of
// them.
func newLayers(in Input) ([]ociPart, *sealer, error) {
	if err := ocilayout.Check(in.Tree); err != nil {
		return nil, nil, fmt.Errorf("writing the root as an image layer: %w", err)
	}
	parts, err := splitRoot(in.Tree, in.Store, in.Epoch.Unix())
	if err != nil {
		return nil, nil, err
	}
	boot, err := newBootLayer(in)
	if err != nil {
		return nil, nil, err
	}
	var layers []ociPart
	seal := &sealer{store: in.Store, digests: map[tree.Digest][64]byte{}}
	for _, p := range parts {
		layers = append(layers, ociPart{p.comment, ociLayerRoot, p.tree, seal})
	}
	// The kernel comes before the layer that has the directories' metadata.
	last := len(layers) - 1
	layers = slices.Insert(layers, last, ociPart{"kernel " + in.KernelVersion + " and initramfs", ociLayerBoot, boot.kernel, boot.contents})
	return append(layers, ociPart{"bootc's files", ociLayerBoot, boot.tree, boot.contents}), seal, nil
}

// ociPart is a layer to be written.
type ociPart struct {
	comment, kind string // kind is the annotation's value
	tree          *tree.Tree
	contents      ocilayout.Opener
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

// largestFirst returns the parts' indexes by the size of what is in them: begun in
// that order, none is left to be waited for alone.
func largestFirst(parts []ociPart) []int {
	sizes, order := make([]int64, len(parts)), make([]int, len(parts))
	for i, p := range parts {
		order[i] = i
		_ = p.tree.Walk(func(_ string, n *tree.Node) error { // a sum never fails
			sizes[i] += n.Inode.Size
			return nil
		})
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sizes[b], sizes[a]) })
	return order
}

// writeLayers writes layers, several at a time, and commits them in their order.
func (s *Sink) writeLayers(ctx context.Context, parts []ociPart) ([]ocilayout.Layer, error) {
	layers, files := make([]ocilayout.Layer, len(parts)), make([]*File, len(parts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range largestFirst(parts) {
		p := parts[i]
		g.Go(func() (err error) {
			if files[i], err = s.Create(); err != nil {
				return err
			}
			layers[i].DiffID, err = ocilayout.WriteLayer(ctx, files[i], p.tree, p.contents)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, p := range parts {
		l := &layers[i]
		l.Comment, l.Annotations = p.comment, map[string]string{ociLayer: p.kind}
		a, err := files[i].Commit(ocilayout.BlobPath(files[i].SHA256()), ocilayout.LayerMediaType)
		if err != nil {
			return nil, err
		}
		l.Blob = ocilayout.Blob{SHA256: a.SHA256, Size: a.Size}
	}
	return layers, nil
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

// Prove implements Prover. The root digest is computed from the root layers; the
// root hash is only named, for the image has no root.img.
func (oci) Prove(ctx context.Context, dir string, a arch.Arch) (Proof, error) {
	image, err := ocilayout.Open(dir)
	if err != nil {
		return Proof{}, err
	}
	if image.Config.Architecture != a.Name {
		return Proof{}, fmt.Errorf("the image is for %q, not %q", image.Config.Architecture, a.Name)
	}
	labels := image.Config.Config.Labels
	for _, name := range []string{ociComposefs, ociRootHash} {
		if one, two := labels[name], image.Manifest.Annotations[name]; one != two {
			return Proof{}, fmt.Errorf("the label %s is %q, the annotation of the manifest %q", name, one, two)
		}
	}
	root, layers, err := readRoot(ctx, image)
	if err != nil {
		return Proof{}, err
	}
	digest, err := composefs.WriteImage(io.Discard, root)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{RootDigest: hex.EncodeToString(digest[:]), RootHash: labels[ociRootHash]}
	if p.RootDigest != labels[ociComposefs] {
		return Proof{}, fmt.Errorf("the root layers have the digest %s, the label %s is %q", p.RootDigest, ociComposefs, labels[ociComposefs])
	}
	p.note("labels and annotations, which alone name the root hash")
	p.note("%d root layers: every name, attribute and byte", layers)
	return p, nil
}

// readRoot applies the root layers of an image and counts them.
func readRoot(ctx context.Context, image *ocilayout.Opened) (root *tree.Tree, layers int, err error) {
	root = tree.New(0)
	for n, d := range image.Manifest.Layers {
		if d.Annotations[ociLayer] != ociLayerRoot {
			continue
		}
		layers++
		err := image.Layer(ctx, n, func(r io.Reader) error { return ocilayout.Apply(root, r, &ocilayout.Digests{}) })
		if err != nil {
			return nil, 0, err
		}
	}
	if layers == 0 {
		return nil, 0, fmt.Errorf("no layer has the annotation %s=%s", ociLayer, ociLayerRoot)
	}
	return root, layers, nil
}
