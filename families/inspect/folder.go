package inspect

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families"
	"github.com/powernode/bootsmith/families/internal/ocilayout"
)

// folder describes an OCI layout, an architecture's folder of a build, or the
// build's.
func folder(ctx context.Context, dir string) (Report, error) {
	if exists(filepath.Join(dir, ocilayout.LayoutFile)) {
		return image(ctx, dir)
	}
	r := Report{Name: filepath.Base(dir), Kind: "build"}
	if exists(filepath.Join(dir, manifest.FileName)) {
		return r, archFolder(ctx, dir, &r)
	}
	for _, a := range arch.All() {
		path := filepath.Join(dir, a.Name)
		if !exists(path) {
			continue
		}
		part := Report{Name: a.Name, Kind: "build for " + a.Name}
		err := archFolder(ctx, path, &part)
		r.Parts = append(r.Parts, part)
		if err != nil {
			return r, err
		}
	}
	if len(r.Parts) == 0 {
		return r, fault.Inputf("inspecting %q: it is neither an OCI layout nor a folder that build wrote", dir)
	}
	return r, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// archFolder describes the files of an architecture.
func archFolder(ctx context.Context, dir string, r *Report) error {
	for _, name := range []string{manifest.FileName, manifest.SPDXName, manifest.CycloneDXName} {
		if err := r.addPath(ctx, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, f := range families.All() {
		path := filepath.Join(dir, f.Name())
		if !exists(path) {
			continue
		}
		part := Report{Name: f.Name(), Kind: "family"}
		err := family(ctx, path, &part)
		r.Parts = append(r.Parts, part)
		if err != nil {
			return err
		}
	}
	return nil
}

// addPath describes a file or an OCI layout; a missing one is left out.
func (r *Report) addPath(ctx context.Context, path string) error {
	part, err := Path(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r.Parts = append(r.Parts, part)
	return err
}

func family(ctx context.Context, dir string, r *Report) error {
	if exists(filepath.Join(dir, ocilayout.LayoutFile)) {
		return r.addPath(ctx, dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			if err := r.addPath(ctx, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// image describes an OCI layout of one image.
func image(ctx context.Context, dir string) (Report, error) {
	r := Report{Name: filepath.Base(dir), Kind: "OCI image layout"}
	o, err := ocilayout.Open(dir)
	if err != nil {
		return r, err
	}
	r.set("digest", "sha256:"+o.Digest)
	r.set("platform", o.Config.OS+"/"+o.Config.Architecture)
	r.set("created", o.Config.Created.UTC().Format("2006-01-02T15:04:05Z"))
	for _, name := range slices.Sorted(maps.Keys(o.Config.Config.Labels)) {
		r.set("label "+name, o.Config.Config.Labels[name])
	}
	for _, key := range slices.Sorted(maps.Keys(o.Manifest.Annotations)) {
		r.set("annotation "+key, o.Manifest.Annotations[key])
	}
	root, contents := tree.New(0), &ocilayout.Digests{Wide: true}
	for n, d := range o.Manifest.Layers {
		part := Report{Name: d.Digest.String(), Kind: "layer", Size: d.Size}
		for _, key := range slices.Sorted(maps.Keys(d.Annotations)) {
			part.set("annotation "+key, d.Annotations[key])
		}
		if n < len(o.Config.History) {
			part.set("comment", o.Config.History[n].Comment)
		}
		err := o.Layer(ctx, n, func(in io.Reader) error { return ocilayout.Apply(root, in, contents) })
		r.Parts = append(r.Parts, part)
		if err != nil {
			return r, err
		}
	}
	return r, checkSeal(root, contents, o.Manifest.Annotations[bootc.DigestKey])
}

// checkSeal compares bootc's digest, if the image names it, with the layers.
func checkSeal(root *tree.Tree, contents *ocilayout.Digests, named string) error {
	if named == "" {
		return nil
	}
	digest, err := bootc.Digest(root, contents.Object)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(digest[:]); got != named {
		return fmt.Errorf("the layers have bootc's digest %s, the annotation says %s", got, named)
	}
	return nil
}

// ImageRoot applies all layers of the image in an OCI layout. The contents of
// those files that keep asks for can be opened, up to 1 MiB each.
func ImageRoot(ctx context.Context, dir string, keep func(path string) bool) (*tree.Tree, func(tree.Content) (io.ReadCloser, error), error) {
	o, err := ocilayout.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	root, contents := tree.New(0), &ocilayout.Digests{Keep: keep}
	for n := range o.Manifest.Layers {
		if err := o.Layer(ctx, n, func(in io.Reader) error { return ocilayout.Apply(root, in, contents) }); err != nil {
			return nil, nil, fmt.Errorf("reading the OCI layout %q: %w", dir, err)
		}
	}
	return root, contents.Open, nil
}
