package composefs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/store"
)

// bodyWriter writes the bodies of a root image in their order.
type bodyWriter struct {
	*output
	store   *store.Store
	shared  []byte // the open block of inodes and tails
	copyBuf []byte
}

// begin puts the body's inode into the shared block.
func (w *bodyWriter) begin(b *body) {
	if b.opens {
		w.closeBlock()
	}
	w.shared = append(w.shared, make([]byte, b.offset-int64(len(w.shared)))...)
	w.shared = b.inode().Append(w.shared)
}

// closeBlock writes the shared block, if there is one.
func (w *bodyWriter) closeBlock() {
	if len(w.shared) > 0 {
		w.Write(w.shared)
		w.fillBlock()
		w.shared = w.shared[:0]
	}
}

// copyObject writes a body's blocks and puts its tail behind its inode.
func (w *bodyWriter) copyObject(ctx context.Context, b *body) error {
	r, err := w.store.Open(*b.object)
	if err != nil {
		return err
	}
	defer r.Close()
	whole := min(b.blocks*erofs.BlockSize, b.size)
	n, err := w.copyBlocks(ctx, io.LimitReader(r, whole))
	if err != nil {
		return err
	}
	tail := w.copyBuf[:b.tail+1] // one byte more, to meet the end
	m, err := io.ReadFull(r, tail)
	if err == nil || n+int64(m) != b.size && isEnd(err) {
		return fault.Buildf("object %x does not have the %d bytes that the tree tells of", b.object.Verity, b.size)
	}
	if !isEnd(err) {
		return err
	}
	w.shared = append(w.shared, tail[:b.tail]...)
	w.fillBlock()
	return nil
}

// isEnd tells whether io.ReadFull met the end of the verified object.
func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// copyBlocks copies until r ends, or writing fails, or ctx is done.
func (w *bodyWriter) copyBlocks(ctx context.Context, r io.Reader) (n int64, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := r.Read(w.copyBuf)
		n += int64(m)
		if _, err := w.Write(w.copyBuf[:m]); err != nil {
			return n, fmt.Errorf("writing object data: %w", err)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
