package inspect

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/dmverity"
	"github.com/powernode/bootsmith/builder/fsverity"
)

func isEROFS(s source) bool {
	_, err := erofs.ReadSuperblock(s)
	return err == nil
}

// composefsMagic begins a composefs image, in front of the EROFS superblock
// (0xd078629a, struct lcfs_erofs_header_s of liblcfs).
const composefsMagic = "\x9a\x62\x78\xd0"

// describeEROFS tells the three kinds apart: a composefs image, a root image and
// any other file system.
func describeEROFS(ctx context.Context, s source, r *Report, _ int) error {
	super, err := erofs.ReadSuperblock(s)
	if err != nil {
		return err
	}
	r.Kind = "EROFS file system"
	if super.Size() > s.size {
		return fmt.Errorf("the file system has %d bytes, of which %d are here", super.Size(), s.size)
	}
	r.set("UUID", uuid.UUID(super.UUID))
	r.set("inodes", super.Inodes)
	if s.has(0, composefsMagic) {
		r.Kind = "composefs image"
		digest, err := verityOf(ctx, s)
		r.set("root digest", digest)
		return err
	}
	if _, err := dmverity.ReadSuperblock(s, int64(super.Blocks)); err != nil {
		return nil
	}
	r.Kind = "root image"
	found, objects, err := composefs.Identify(ctx, s, s.size)
	if err != nil {
		return err
	}
	r.set("root digest", hex.EncodeToString(found.Digest[:]))
	r.set("root hash", hex.EncodeToString(found.RootHash[:]))
	r.set("data blocks", found.DataBlocks)
	r.set("objects", objects)
	return nil
}

// verityOf computes the fs-verity digest.
func verityOf(ctx context.Context, s source) (string, error) {
	h := fsverity.New()
	if err := copyAll(ctx, h, s.section()); err != nil {
		return "", err
	}
	digest := h.Sum()
	return hex.EncodeToString(digest[:]), nil
}

// copyAll copies until the end or until ctx is done.
func copyAll(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
