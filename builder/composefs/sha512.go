package composefs

import (
	"fmt"
	"io"

	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

// WriteImage512 writes the composefs image of a tree as composefs-rs does in its
// format V1 with SHA-512, and returns its fs-verity digest with SHA-512: objects
// have other names than WriteImage gives them, and the format's version is 1 in
// any case. objects returns the digest of a content of more than tree.InlineMax
// bytes.
func WriteImage512(w io.Writer, t *tree.Tree, objects func(tree.Content) ([64]byte, error)) (digest [64]byte, err error) {
	known := map[tree.Digest][64]byte{}
	err = t.Walk(func(path string, n *tree.Node) error {
		c := n.Inode.Content
		if _, ok := known[c.Verity]; ok || !n.Inode.IsRegular() || n.Inode.Size <= tree.InlineMax {
			return nil
		}
		d, err := objects(c)
		if err != nil {
			return fmt.Errorf("naming /%s by its SHA-512 digest: %w", path, err)
		}
		known[c.Verity] = d
		return nil
	})
	if err != nil {
		return digest, err
	}
	img, err := newImage(t, variant{version: 1, object: func(i *tree.Inode) ([]byte, byte) {
		d := known[i.Content.Verity]
		return d[:], 2
	}})
	if err != nil {
		return digest, err
	}
	verity := fsverity.New512()
	if err := img.writeBytes(io.MultiWriter(w, verity)); err != nil {
		return digest, err
	}
	return verity.Sum(), nil
}
