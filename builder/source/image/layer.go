package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/archive"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Names in layers (image-spec, "Whiteouts"); aufs's own files begin with
// auxPrefix and are left out.
const (
	whiteoutPrefix = ".wh."
	auxPrefix      = ".wh..wh."
	opaque         = ".wh..wh..opq"
)

// xzWorkers is for layers in xz, which no tool writes but some read.
const xzWorkers = 2

// builder lays layers over each other.
type builder struct {
	Source
	store *store.Store
	tree  *tree.Tree
	left  source.Limits // for the layers that follow
}

// addLayer reads a layer and lays it over the tree.
func (b *builder) addLayer(ctx context.Context, layer v1.Descriptor, diffID v1.Hash) error {
	if most := b.left.Stream(); layer.Size < 0 || layer.Size > most {
		return source.Exceeded("it has %d bytes, more than the limits allow: %d", layer.Size, most)
	}
	blob, err := openBlob(ctx, b.sized(layer.Size), layer.Digest, layer.Size)
	if err != nil {
		return err
	}
	defer blob.Close()
	in := source.WithContext(ctx, blob)
	entries, err := b.scan(ctx, in, diffID)
	// The rest of the blob is read, too: a damaged blob is told from one that
	// was wrong all along.
	if _, drainErr := io.Copy(io.Discard, in); drainErr != nil {
		return drainErr
	}
	if err != nil {
		return err
	}
	// Whiteouts are for lower layers only, wherever in the layer they stand.
	for _, e := range entries {
		if err := b.whiteOut(e); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(path.Base(e.Path), whiteoutPrefix) {
			continue
		}
		if err := source.Put(b.tree, e, source.Everything); err != nil {
			return err
		}
	}
	return nil
}

// scan returns the layer's entries, their contents stored, and compares the
// uncompressed layer with its digest.
func (b *builder) scan(ctx context.Context, r io.Reader, diffID v1.Hash) ([]source.Entry, error) {
	z, err := archive.Decompress(r, xzWorkers)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	sum := sha256.New()
	var entries []source.Entry
	err = source.Tar{Limits: b.left}.Scan(ctx, io.TeeReader(z, sum), b.store, func(e source.Entry) error {
		if e.Link == "" && e.Inode.Type() == tree.TypeChar && e.Inode.Major == 0 && e.Inode.Minor == 0 {
			return fmt.Errorf("reading %q: the device 0:0 would delete a file on an overlay", e.Path)
		}
		b.left.Entries--
		b.left.Bytes -= e.Inode.Size
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if found := hex.EncodeToString(sum.Sum(nil)); diffID.Algorithm != "sha256" || found != diffID.Hex {
		return nil, fmt.Errorf("its uncompressed digest is sha256:%s, the image's configuration says %s", found, diffID)
	}
	return entries, nil
}

// whiteOut deletes what an entry says is deleted.
func (b *builder) whiteOut(e source.Entry) error {
	dir, base := path.Split(e.Path)
	name, ok := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !ok, base != opaque && strings.HasPrefix(base, auxPrefix):
		return nil
	case base == opaque:
		return b.empty(strings.TrimSuffix(dir, "/"))
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("reading %q: it names no file to delete", e.Path)
	}
	if err := b.tree.Remove(dir + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// empty deletes what lower layers brought into a directory.
func (b *builder) empty(dir string) error {
	n, err := b.tree.Resolve(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !n.Inode.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	at := b.tree.PathOf(n)
	for len(n.Children()) > 0 {
		if err := b.tree.Remove(path.Join(at, n.Children()[0].Name)); err != nil {
			return err
		}
	}
	return nil
}
