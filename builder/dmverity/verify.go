package dmverity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrMismatch is returned by Verify when data, hash area and root hash don't
// belong together.
var ErrMismatch = errors.New("dm-verity mismatch")

// Verify reads a device with dataBlocks data blocks and the hash area behind
// them, and checks that the tree is whole, that it belongs to the data and that
// it has the root hash. r holds exactly the device, or more behind it. It
// returns the parameters found in the superblock.
func Verify(ctx context.Context, r io.Reader, dataBlocks int64, rootHash [32]byte, salt []byte) (Params, error) {
	h, err := NewHasher(Params{Salt: salt, DataBlocks: dataBlocks})
	if err != nil {
		return Params{}, err
	}
	buf := make([]byte, 256<<10)
	data := struct{ io.Reader }{io.LimitReader(ctxReader{ctx, r}, dataBlocks*BlockSize)}
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, data, buf); err != nil {
		return Params{}, fmt.Errorf("reading dm-verity data: %w", err)
	}
	t, err := h.Tree()
	if err != nil {
		return Params{}, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if t.root != rootHash {
		return Params{}, fmt.Errorf("%w: root hash %x, want %x", ErrMismatch, t.root, rootHash)
	}
	return t.compare(ctxReader{ctx, r})
}

// compare reads the hash area that follows in r.
func (t *Tree) compare(r io.Reader) (Params, error) {
	block := make([]byte, BlockSize)
	if _, err := io.ReadFull(r, block); err != nil {
		return Params{}, fmt.Errorf("reading the dm-verity superblock: %w", err)
	}
	found, err := ParseSuperblock(block)
	if err != nil {
		return Params{}, err
	}
	if found.DataBlocks != t.params.DataBlocks || !bytes.Equal(found.Salt, t.params.Salt) {
		return Params{}, fmt.Errorf("%w: the superblock tells of %d data blocks and salt %x, want %d and %x",
			ErrMismatch, found.DataBlocks, found.Salt, t.params.DataBlocks, t.params.Salt)
	}
	for i := len(t.levels) - 1; i >= 0; i-- {
		for rest := t.levels[i]; len(rest) > 0; rest = rest[BlockSize:] {
			if _, err := io.ReadFull(r, block); err != nil {
				return Params{}, fmt.Errorf("reading the dm-verity hash tree: %w", err)
			}
			if !bytes.Equal(block, rest[:BlockSize]) {
				return Params{}, fmt.Errorf("%w: level %d of the hash tree is damaged", ErrMismatch, i)
			}
		}
	}
	return found, nil
}

// ctxReader stops reading when its context is done.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
