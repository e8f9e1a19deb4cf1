package dmverity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes in bytes. Data and hash blocks are of one size.
const (
	BlockSize      = 4096
	SuperblockSize = 512
	MaxSaltSize    = 256
)

// maxDataBlocks keeps every offset of a device and its tree within an int64.
const maxDataBlocks = 1 << 50

// algorithm is the only hash this package knows.
const algorithm = "sha256"

// ErrNoSuperblock is returned for bytes that don't begin with a dm-verity
// superblock.
var ErrNoSuperblock = errors.New("no dm-verity superblock")

// Params describes a dm-verity device of format version 1 with SHA-256 and
// 4096-byte blocks, whose hash area lies right behind its data.
type Params struct {
	Salt       []byte   // at most MaxSaltSize bytes, hashed before every block
	UUID       [16]byte // of the hash area, in the order of its text form
	DataBlocks int64    // blocks of BlockSize bytes; at least 1
}

func (p Params) check() error {
	if len(p.Salt) > MaxSaltSize {
		return fmt.Errorf("a dm-verity salt of %d bytes is longer than %d", len(p.Salt), MaxSaltSize)
	}
	if p.DataBlocks < 1 || p.DataBlocks > maxDataBlocks {
		return fmt.Errorf("a dm-verity device can't have %d data blocks", p.DataBlocks)
	}
	return nil
}

// Superblock returns the superblock, struct verity_sb of cryptsetup:
//
//	0   8  "verity\0\0"
//	8   4  superblock version, 1
//	12  4  hash type, 1 (salt before data, digests padded to a power of two)
//	16  16 UUID
//	32  32 hash algorithm name, "sha256"
//	64  4  data block size
//	68  4  hash block size
//	72  8  data blocks
//	80  2  salt size
//	88 256 salt
//
// Integers are little-endian, all other bytes zero.
func (p Params) Superblock() [SuperblockSize]byte {
	var b [SuperblockSize]byte
	le := binary.LittleEndian
	copy(b[0:], signature)
	le.PutUint32(b[8:], 1)
	le.PutUint32(b[12:], 1)
	copy(b[16:32], p.UUID[:])
	copy(b[32:64], algorithm)
	le.PutUint32(b[64:], BlockSize)
	le.PutUint32(b[68:], BlockSize)
	le.PutUint64(b[72:], uint64(p.DataBlocks))
	le.PutUint16(b[80:], uint16(len(p.Salt)))
	copy(b[88:], p.Salt)
	return b
}

const signature = "verity\x00\x00"

// ParseSuperblock reads a superblock from the first SuperblockSize bytes of b.
// It returns ErrNoSuperblock when there is none, and another error when there is
// one of a kind that this package doesn't write.
func ParseSuperblock(b []byte) (Params, error) {
	if len(b) < SuperblockSize || string(b[:8]) != signature {
		return Params{}, ErrNoSuperblock
	}
	le := binary.LittleEndian
	name, _, _ := bytes.Cut(b[32:64], []byte{0})
	switch {
	case le.Uint32(b[8:]) != 1 || le.Uint32(b[12:]) != 1:
		return Params{}, fmt.Errorf("dm-verity superblock version %d, hash type %d: only 1 and 1 are known", le.Uint32(b[8:]), le.Uint32(b[12:]))
	case string(name) != algorithm:
		return Params{}, fmt.Errorf("dm-verity superblock: hash algorithm %q: only %s is known", name, algorithm)
	case le.Uint32(b[64:]) != BlockSize || le.Uint32(b[68:]) != BlockSize:
		return Params{}, fmt.Errorf("dm-verity superblock: blocks of %d and %d bytes: only %d is known", le.Uint32(b[64:]), le.Uint32(b[68:]), BlockSize)
	}
	size := int(le.Uint16(b[80:]))
	blocks := le.Uint64(b[72:])
	if size > MaxSaltSize || blocks < 1 || blocks > maxDataBlocks {
		return Params{}, fmt.Errorf("dm-verity superblock: %d data blocks and a salt of %d bytes", blocks, size)
	}
	return Params{
		Salt:       bytes.Clone(b[88 : 88+size]),
		UUID:       [16]byte(b[16:32]),
		DataBlocks: int64(blocks),
	}, nil
}

// ReadSuperblock reads the superblock that lies in block number block of r.
func ReadSuperblock(r io.ReaderAt, block int64) (Params, error) {
	var b [SuperblockSize]byte
	if n, err := r.ReadAt(b[:], block*BlockSize); n < len(b) {
		if err == io.EOF {
			err = ErrNoSuperblock
		}
		return Params{}, fmt.Errorf("reading block %d: %w", block, err)
	}
	return ParseSuperblock(b[:])
}

// Target returns the parameters of a device-mapper target of type "verity"
// (kernel, admin-guide/device-mapper/verity.rst, "Construction Parameters") for
// data and hash area on one device, named by path or as major:minor.
func (p Params) Target(device string, rootHash [32]byte) string {
	salt := "-"
	if len(p.Salt) > 0 {
		salt = fmt.Sprintf("%x", p.Salt)
	}
	return fmt.Sprintf("1 %s %s %d %d %d %d %s %x %s", device, device, BlockSize, BlockSize,
		p.DataBlocks, p.DataBlocks+1, algorithm, rootHash, salt)
}
