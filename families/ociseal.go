package families

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/internal/ocilayout"
)

// sealer computes the digest by which bootc knows the image's root. It needs
// another digest of every object than the store has: that is computed while the
// layers are written, so that nothing is read twice.
type sealer struct {
	store   *store.Store
	mu      sync.Mutex
	digests map[tree.Digest][64]byte // fs-verity with SHA-512, by that with SHA-256
}

// Open implements ocilayout.Opener.
func (s *sealer) Open(c tree.Content) (io.ReadCloser, error) {
	r, err := s.store.Open(c)
	if err != nil {
		return nil, err
	}
	return &sealing{ReadCloser: r, of: s, verity: c.Verity, sum: fsverity.New512()}, nil
}

// sealing hashes an object that is read.
type sealing struct {
	io.ReadCloser
	of     *sealer
	verity tree.Digest
	sum    *fsverity.Hasher512
}

func (r *sealing) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.sum.Write(p[:n])
	if err == io.EOF {
		r.of.mu.Lock()
		r.of.digests[r.verity] = r.sum.Sum()
		r.of.mu.Unlock()
	}
	return n, err
}

// digest returns the digest in hex when all layers are written; "" for a root of
// which it can't be known here.
func (s *sealer) digest(ctx context.Context, parts []ociPart) (string, error) {
	whole := tree.New(0)
	own := &ocilayout.Digests{Wide: true}
	for _, p := range parts {
		if err := merge(ctx, whole, p, own); err != nil {
			return "", fmt.Errorf("merging the layers: %w", err)
		}
	}
	digest, err := bootc.Digest(whole, func(c tree.Content) ([64]byte, error) {
		if d, ok := s.digests[c.Verity]; ok {
			return d, nil
		}
		return own.Object(c)
	})
	if errors.Is(err, bootc.ErrPolicy) {
		return "", nil
	}
	return hex.EncodeToString(digest[:]), err
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
