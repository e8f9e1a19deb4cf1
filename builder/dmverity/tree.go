// Package dmverity writes and checks the hash area of dm-verity devices: format
// version 1, SHA-256, 4096-byte data and hash blocks.
//
// The bytes are those of "veritysetup format" (cryptsetup). The hash area lies
// behind the data on the same device: one block that begins with a superblock,
// then the levels of the hash tree, the top one first. Each hash block holds
// the hashes of 128 blocks of the level below. See the kernel's
// Documentation/admin-guide/device-mapper/verity.rst, section "On-disk format".
package dmverity

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

const (
	hashSize       = sha256.Size
	hashesPerBlock = BlockSize / hashSize
)

// HashBlocks returns the number of blocks of the hash area of a device with
// that many data blocks, the superblock's included.
func HashBlocks(dataBlocks int64) int64 {
	n := int64(1)
	for dataBlocks > 1 {
		dataBlocks = (dataBlocks + hashesPerBlock - 1) / hashesPerBlock
		n += dataBlocks
	}
	return n
}

// Hasher is fed the data of a device and keeps 32 bytes for each data block. It
// is not safe for concurrent use.
type Hasher struct {
	params Params
	salted hash.Hash // nil without a salt
	block  [BlockSize]byte
	fill   int
	hashes []byte
}

// NewHasher returns a Hasher for a device with params.DataBlocks data blocks.
func NewHasher(params Params) (*Hasher, error) {
	if err := params.check(); err != nil {
		return nil, err
	}
	h := &Hasher{params: params}
	// A false number of blocks must not take memory before data comes.
	h.hashes = make([]byte, 0, hashSize*min(params.DataBlocks, 1<<20))
	if len(params.Salt) > 0 {
		h.salted = sha256.New()
	}
	return h, nil
}

// errTooMuch is returned by Write for data beyond the device's end.
var errTooMuch = errors.New("more data than the dm-verity device has blocks")

// Write adds p to the data. It fails when there is more of it than
// Params.DataBlocks.
func (h *Hasher) Write(p []byte) (int, error) {
	done := int64(len(h.hashes))/hashSize*BlockSize + int64(h.fill)
	if int64(len(p)) > h.params.DataBlocks*BlockSize-done {
		return 0, errTooMuch
	}
	n := len(p)
	if h.fill > 0 {
		c := copy(h.block[h.fill:], p)
		h.fill += c
		p = p[c:]
		if h.fill < BlockSize {
			return n, nil
		}
		h.hashes = h.appendHash(h.hashes, h.block[:])
	}
	for len(p) >= BlockSize {
		h.hashes = h.appendHash(h.hashes, p[:BlockSize])
		p = p[BlockSize:]
	}
	h.fill = copy(h.block[:], p)
	return n, nil
}

// appendHash appends the hash of one block: SHA-256 of salt and block.
func (h *Hasher) appendHash(to, block []byte) []byte {
	if h.salted == nil {
		sum := sha256.Sum256(block)
		return append(to, sum[:]...)
	}
	h.salted.Reset()
	h.salted.Write(h.params.Salt)
	h.salted.Write(block)
	return h.salted.Sum(to)
}

// Tree is the hash area of a device.
type Tree struct {
	params Params
	root   [32]byte
	levels [][]byte // whole blocks; the lowest level first
}

// Tree finishes the hash tree. It fails unless exactly Params.DataBlocks blocks
// were written. The Hasher must not be used afterwards.
func (h *Hasher) Tree() (*Tree, error) {
	if done := int64(len(h.hashes)) / hashSize; h.fill > 0 || done != h.params.DataBlocks {
		return nil, fmt.Errorf("a dm-verity device of %d blocks got %d blocks and %d bytes", h.params.DataBlocks, done, h.fill)
	}
	t := &Tree{params: h.params}
	level := h.hashes
	for len(level) > hashSize {
		level = pad(level)
		t.levels = append(t.levels, level)
		above := make([]byte, 0, len(level)/hashesPerBlock)
		for ; len(level) > 0; level = level[BlockSize:] {
			above = h.appendHash(above, level[:BlockSize])
		}
		level = above
	}
	t.root = [32]byte(level)
	return t, nil
}

// pad fills the last block with zeros.
func pad(level []byte) []byte {
	if rest := len(level) % BlockSize; rest > 0 {
		level = append(level, make([]byte, BlockSize-rest)...)
	}
	return level
}

// RootHash returns the hash that vouches for all data: that of the top hash
// block or, of a device with a single data block, that of the data block.
func (t *Tree) RootHash() [32]byte { return t.root }

// Size returns the size of the hash area in bytes.
func (t *Tree) Size() int64 { return HashBlocks(t.params.DataBlocks) * BlockSize }

// WriteTo writes the hash area: the superblock's block, then the tree, top
// level first.
func (t *Tree) WriteTo(w io.Writer) (int64, error) {
	var first [BlockSize]byte
	super := t.params.Superblock()
	copy(first[:], super[:])
	n, err := w.Write(first[:])
	total := int64(n)
	for i := len(t.levels) - 1; i >= 0 && err == nil; i-- {
		n, err = w.Write(t.levels[i])
		total += int64(n)
	}
	if err != nil {
		return total, fmt.Errorf("writing the dm-verity hash area: %w", err)
	}
	return total, nil
}
