package families

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/internal/ocilayout"
)

// bootcDigest computes the digest by which bootc knows the image's root, in hex;
// "" for a root of which it can't be known here.
func bootcDigest(ctx context.Context, contents *store.Store, parts []ociPart) (string, error) {
	whole := tree.New(0)
	own := &ocilayout.Digests{Wide: true}
	for _, p := range parts {
		if err := merge(ctx, whole, p, own); err != nil {
			return "", fmt.Errorf("merging the layers: %w", err)
		}
	}
	digest, err := bootc.Digest(whole, func(c tree.Content) ([64]byte, error) {
		if d, err := own.Object(c); err == nil {
			return d, nil
		}
		return storedDigest(ctx, contents, c)
	})
	if errors.Is(err, bootc.ErrPolicy) {
		return "", nil
	}
	return hex.EncodeToString(digest[:]), err
}

// storedDigest computes the SHA-512 digest of an object.
func storedDigest(ctx context.Context, contents *store.Store, c tree.Content) (d [64]byte, err error) {
	r, err := contents.Open(c)
	if err != nil {
		return d, err
	}
	defer r.Close()
	h := fsverity.New512()
	if err := copyContext(ctx, h, r); err != nil {
		return d, err
	}
	return h.Sum(), nil
}

// merge lays a layer over a tree. The contents of those that are not the root's
// are described here, for only the root's have an object.
func merge(ctx context.Context, over *tree.Tree, layer ociPart, own *ocilayout.Digests) error {
	copies := map[*tree.Inode]*tree.Inode{}
	return layer.tree.Walk(func(name string, n *tree.Node) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if hidden, ok := strings.CutPrefix(n.Name, ocilayout.Whiteout("")); ok {
			return over.Remove(path.Join(path.Dir(name), hidden))
		}
		inode := copies[n.Inode]
		if inode == nil {
			c := *n.Inode
			inode = &c
			copies[n.Inode] = inode
		}
		if layer.kind != ociLayerRoot && inode.IsRegular() {
			var err error
			if inode.Content, inode.Size, err = describe(layer.contents, inode.Content, own, name); err != nil {
				return err
			}
		}
		if old, err := over.Lookup(name); err == nil && name != "" && old.Inode.IsDir() != inode.IsDir() {
			if err := over.Remove(name); err != nil {
				return err
			}
		}
		return over.Put(name, inode)
	})
}

func describe(contents ocilayout.Opener, c tree.Content, own *ocilayout.Digests, name string) (tree.Content, int64, error) {
	r, err := contents.Open(c)
	if err != nil {
		return c, 0, err
	}
	defer r.Close()
	return own.Put(name, r)
}
