package composefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	goerofs "github.com/erofs/go-erofs"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/dmverity"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/store"
)

// ErrMismatch is returned by CheckRootImage for an image that is well-formed but
// not the wanted one, or whose objects don't have the bytes of their names.
var ErrMismatch = errors.New("root image mismatch")

// CheckRootImage reads a root image, of which r may hold more behind its end,
// and checks that it is the wanted one: data and hash tree against the dm-verity
// root hash, /root.cfs against its digest and every object against its name. A
// false root hash is an error that matches dmverity.ErrMismatch.
func CheckRootImage(ctx context.Context, r io.ReaderAt, want RootImage) error {
	if _, err := dmverity.Verify(ctx, io.NewSectionReader(r, 0, want.Size), want.DataBlocks, want.RootHash, nil); err != nil {
		return fmt.Errorf("checking the root image: %w", err)
	}
	img, err := goerofs.Open(io.NewSectionReader(r, 0, want.DataBlocks*erofs.BlockSize))
	if err != nil {
		return fmt.Errorf("checking the root image: %w", err)
	}
	digest, err := fileDigest(ctx, img, ImageFile)
	if err != nil {
		return err
	}
	if digest != want.Digest {
		return fmt.Errorf("%w: /%s has the fs-verity digest %x, want %x", ErrMismatch, ImageFile, digest, want.Digest)
	}
	_, err = checkObjects(ctx, img)
	return err
}

// checkObjects compares every object with its name and counts them.
func checkObjects(ctx context.Context, img fs.FS) (count int, err error) {
	err = fs.WalkDir(img, ObjectsDir, func(name string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if d.IsDir() {
			return checkObjectFolder(name)
		}
		count++
		digest, err := fileDigest(ctx, img, name)
		if err == nil && name != ObjectsDir+"/"+store.Path(digest) {
			err = fmt.Errorf("%w: /%s has the fs-verity digest %x", ErrMismatch, name, digest)
		}
		return err
	})
	return count, err
}

// checkObjectFolder refuses folders below "objects/xx": in a false image they may
// hold themselves, and there is no end to walking them.
func checkObjectFolder(name string) error {
	if strings.Count(name, "/") > 1 {
		return fmt.Errorf("%w: /%s is a folder, not an object", ErrMismatch, name)
	}
	return nil
}

// fileDigest returns the fs-verity digest of a file.
func fileDigest(ctx context.Context, img fs.FS, name string) (digest [32]byte, err error) {
	f, err := img.Open(name)
	if err != nil {
		return digest, fmt.Errorf("checking /%s of the root image: %w", name, err)
	}
	defer f.Close()
	h := fsverity.New()
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		return digest, fmt.Errorf("checking /%s of the root image: %w", name, err)
	}
	return h.Sum(), nil
}

// contextReader stops reading when its context is done: the size of a file in a
// false image may be any.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
