package composefs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	goerofs "github.com/erofs/go-erofs"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/dmverity"
)

// Identify reads a root image, of which r has size bytes or more behind its end,
// and computes what identifies it; it also counts the objects. A hash tree that
// does not belong to the data is an error that matches dmverity.ErrMismatch,
// objects that don't have the bytes of their names are one that matches
// ErrMismatch.
func Identify(ctx context.Context, r io.ReaderAt, size int64) (found RootImage, objects int, err error) {
	if found, objects, err = identify(ctx, r, size); err != nil {
		return found, 0, fmt.Errorf("identifying a root image: %w", err)
	}
	return found, objects, nil
}

func identify(ctx context.Context, r io.ReaderAt, size int64) (found RootImage, objects int, err error) {
	super, err := erofs.ReadSuperblock(r)
	if err != nil {
		return found, 0, err
	}
	found.DataBlocks = int64(super.Blocks)
	if found.DataBlocks < 2 || found.DataBlocks > size/erofs.BlockSize {
		return found, 0, fmt.Errorf("%d blocks in %d bytes", found.DataBlocks, size)
	}
	params, err := dmverity.ReadSuperblock(r, found.DataBlocks)
	if err != nil {
		return found, 0, err
	}
	// The root hash is that of the top block, which comes first.
	top := make([]byte, erofs.BlockSize)
	if n, err := r.ReadAt(top, (found.DataBlocks+1)*erofs.BlockSize); n < len(top) {
		return found, 0, fmt.Errorf("reading the dm-verity hash tree: %w", err)
	}
	found.RootHash = sha256.Sum256(append(params.Salt, top...))
	if _, err := dmverity.Verify(ctx, io.NewSectionReader(r, 0, size), found.DataBlocks, found.RootHash, params.Salt); err != nil {
		return found, 0, err
	}
	found.Size = (found.DataBlocks + dmverity.HashBlocks(found.DataBlocks)) * erofs.BlockSize
	img, err := goerofs.Open(io.NewSectionReader(r, 0, found.DataBlocks*erofs.BlockSize))
	if err != nil {
		return found, 0, err
	}
	if found.Digest, err = fileDigest(ctx, img, ImageFile); err != nil {
		return found, 0, err
	}
	objects, err = checkObjects(ctx, img)
	return found, objects, err
}
