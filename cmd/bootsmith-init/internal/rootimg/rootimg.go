// Package rootimg recognises root images.
package rootimg

import (
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/powernode/bootsmith/builder/dmverity"
)

// Kind says what was found.
type Kind int

// The kinds. Other is a root image of the same size whose root hash differs: of
// another build, or damaged.
const (
	None Kind = iota
	Other
	Ours
)

// Wanted is the root image to look for.
type Wanted struct {
	RootHash [32]byte // SHA-256 of the top block of the dm-verity tree
	Blocks   int64    // data blocks of 4096 bytes
}

// Size returns the size of the whole image in bytes: data, superblock and tree.
func (w Wanted) Size() int64 {
	return (w.Blocks + dmverity.HashBlocks(w.Blocks)) * dmverity.BlockSize
}

// Look reads the superblock's block and the tree's top block, which are behind
// the data, of a device or file of size bytes. It says nothing about the other
// blocks: dm-verity checks these when they are read.
func (w Wanted) Look(r io.ReaderAt, size int64) (Kind, error) {
	if size < w.Size() {
		return None, nil
	}
	var b [2 * dmverity.BlockSize]byte
	if _, err := r.ReadAt(b[:], w.Blocks*dmverity.BlockSize); err != nil {
		return None, fmt.Errorf("reading the hash tree's first block: %w", err)
	}
	if sha256.Sum256(b[dmverity.BlockSize:]) == w.RootHash {
		return Ours, nil
	}
	p, err := dmverity.ParseSuperblock(b[:])
	if err != nil || p.DataBlocks != w.Blocks {
		return None, nil
	}
	return Other, nil
}
