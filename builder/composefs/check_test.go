package composefs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/dmverity"
)

// sealed returns bytes with a new hash area behind their data blocks, as a
// forger would make it.
func sealed(t testing.TB, data []byte) ([]byte, RootImage) {
	t.Helper()
	r := RootImage{DataBlocks: int64(len(data)) / erofs.BlockSize}
	h, err := dmverity.NewHasher(dmverity.Params{DataBlocks: r.DataBlocks})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Write(data); err != nil {
		t.Fatal(err)
	}
	hashes, err := h.Tree()
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.NewBuffer(bytes.Clone(data))
	if _, err := hashes.WriteTo(out); err != nil {
		t.Fatal(err)
	}
	r.RootHash, r.Size = hashes.RootHash(), int64(out.Len())
	return out.Bytes(), r
}

func TestCheckRootImage(t *testing.T) {
	s, _ := newStore(t)
	tr := storedTree(t, s, sizes())
	r, name := writeRoot(t, tr, s)
	image, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := CheckRootImage(ctx, bytes.NewReader(append(image, "more"...)), r); err != nil {
		t.Fatal(err)
	}
	other := r
	other.Digest[0] ^= 1
	if err := CheckRootImage(ctx, bytes.NewReader(image), other); !errors.Is(err, ErrMismatch) {
		t.Errorf("another digest: %v", err)
	}
	other = r
	other.RootHash[0] ^= 1
	if err := CheckRootImage(ctx, bytes.NewReader(image), other); !errors.Is(err, dmverity.ErrMismatch) {
		t.Errorf("another root hash: %v", err)
	}
	if err := CheckRootImage(ctx, bytes.NewReader(image[:len(image)/2]), r); err == nil {
		t.Error("half an image was taken")
	}
}

func TestCheckOfForgedImages(t *testing.T) {
	s, _ := newStore(t)
	tr := storedTree(t, s, []int64{5000, 70, 4096 * 3})
	r, name := writeRoot(t, tr, s)
	image, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data := image[:r.DataBlocks*erofs.BlockSize]
	at := bytes.Index(data, sample(4096*3, 2)) // an object of whole blocks

	data[at] ^= 1
	forged, fr := sealed(t, data)
	fr.Digest = r.Digest
	if err := CheckRootImage(t.Context(), bytes.NewReader(forged), fr); !errors.Is(err, ErrMismatch) {
		t.Errorf("a changed object: %v", err)
	}
	data[at] ^= 1

	renamed := bytes.Replace(data, []byte(ImageFile), []byte("root.CFS"), 1)
	forged, fr = sealed(t, renamed)
	if err := CheckRootImage(t.Context(), bytes.NewReader(forged), fr); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without /root.cfs: %v", err)
	}

	forged, fr = sealed(t, make([]byte, 8*erofs.BlockSize))
	if err := CheckRootImage(t.Context(), bytes.NewReader(forged), fr); err == nil {
		t.Error("zeros were taken")
	}
}

// cancelAfter cancels once the hash area was read.
type cancelAfter struct {
	io.ReaderAt
	from   int64
	cancel func()
}

func (c cancelAfter) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > c.from {
		c.cancel()
	}
	return c.ReaderAt.ReadAt(p, at)
}

func TestCheckIsCancelled(t *testing.T) {
	s, _ := newStore(t)
	r, name := writeRoot(t, storedTree(t, s, []int64{100}), s)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	if err := CheckRootImage(ctx, cancelAfter{f, r.Size - 1, cancel}, r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
