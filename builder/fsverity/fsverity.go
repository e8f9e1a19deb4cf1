// Package fsverity computes fs-verity digests of byte streams.
//
// A digest here, if nothing else is said, is what FS_IOC_MEASURE_VERITY reports for a file whose verity
// was enabled with SHA-256, 4096-byte blocks and no salt: the SHA-256 of the
// fsverity_descriptor, which holds the file's size and the root of its Merkle
// tree. It is the name of an object in a composefs object store. The format is
// that of the kernel's Documentation/filesystems/fsverity.rst, sections "Merkle
// tree" and "fs-verity descriptor".
package fsverity

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
)

// BlockSize is the size in bytes of data blocks and of Merkle tree blocks.
const BlockSize = 4096

// Fields of struct fsverity_descriptor that are not zero; it is 256 bytes long.
const (
	descriptorSize = 256
	version        = 1
	algSHA256      = 1  // FS_VERITY_HASH_ALG_SHA256
	algSHA512      = 2  // FS_VERITY_HASH_ALG_SHA512
	logBlockSize   = 12 // 4096 bytes
)

// Hasher computes the digest of what is written to it, in constant memory (one
// block per tree level). The zero value is ready to use. It is not safe for
// concurrent use.
type Hasher struct {
	wide   bool // SHA-512 in the place of SHA-256
	levels []level
	block  [BlockSize]byte // the data block that is not full yet
	fill   int
	size   int64
}

// level is one level of the Merkle tree, of which only the last block is kept.
type level struct {
	block  [BlockSize]byte
	fill   int   // bytes of block in use; less than BlockSize
	hashes int64 // hashes that the level got so far
}

// New returns a Hasher for an empty stream.
func New() *Hasher { return new(Hasher) }

// Sum returns the digest of data.
func Sum(data []byte) [32]byte {
	var h Hasher
	h.Write(data)
	return h.Sum()
}

// Write adds p to the stream. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	n := len(p)
	h.size += int64(n)
	if h.fill > 0 {
		c := copy(h.block[h.fill:], p)
		h.fill += c
		p = p[c:]
		if h.fill < BlockSize {
			return n, nil
		}
		h.add(0, h.hash(h.block[:]))
		h.fill = 0
	}
	for len(p) >= BlockSize {
		h.add(0, h.hash(p[:BlockSize]))
		p = p[BlockSize:]
	}
	h.fill = copy(h.block[:], p)
	return n, nil
}

// Size returns the number of bytes written so far.
func (h *Hasher) Size() int64 { return h.size }

// Sum returns the digest of what was written so far. More may be written
// afterwards.
func (h *Hasher) Sum() [32]byte {
	sum := h.sum(algSHA256)
	return [32]byte(sum[:])
}

// sum returns the hash of the descriptor.
func (h *Hasher) sum(algorithm byte) [64]byte {
	root := h.root()
	var d [descriptorSize]byte
	d[0], d[1], d[2] = version, algorithm, logBlockSize
	binary.LittleEndian.PutUint64(d[8:], uint64(h.size))
	copy(d[16:], root[:h.width()])
	return h.hash(d[:])
}

// width is the size of a hash in bytes.
func (h *Hasher) width() int {
	if h.wide {
		return sha512.Size
	}
	return sha256.Size
}

// hash returns a hash, in the first width bytes.
func (h *Hasher) hash(b []byte) (sum [64]byte) {
	if h.wide {
		return sha512.Sum512(b)
	}
	narrow := sha256.Sum256(b)
	copy(sum[:], narrow[:])
	return sum
}

// Reset makes the Hasher ready for another stream.
func (h *Hasher) Reset() {
	h.levels = h.levels[:0]
	h.fill, h.size = 0, 0
}

// add appends a hash to a level of the tree and hashes the level's block into
// the one above once it is full.
func (h *Hasher) add(at int, hash [64]byte) {
	if at == len(h.levels) {
		h.levels = append(h.levels, level{})
	}
	l := &h.levels[at]
	l.fill += copy(l.block[l.fill:], hash[:h.width()])
	l.hashes++
	if l.fill == BlockSize {
		l.fill = 0
		h.add(at+1, h.hash(l.block[:]))
	}
}

// root returns the root hash of the tree as it would be if the stream ended
// here: partly filled blocks count as padded with zeros. An empty stream's root
// hash is all zeros, and that of a stream of one block is the block's hash.
func (h *Hasher) root() [64]byte {
	if h.size == 0 {
		return [64]byte{}
	}
	var carry [64]byte // the hash of the last, unfinished block of the level below
	var block [BlockSize]byte
	carried := h.fill > 0
	if carried {
		copy(block[:], h.block[:h.fill])
		carry = h.hash(block[:])
	}
	for i := range h.levels {
		l := &h.levels[i]
		if l.hashes == 1 && !carried {
			return [64]byte(l.block[:64])
		}
		n := copy(block[:], l.block[:l.fill])
		if carried {
			n += copy(block[n:], carry[:h.width()])
		}
		if carried = n > 0; carried {
			clear(block[n:])
			carry = h.hash(block[:])
		}
	}
	return carry
}
