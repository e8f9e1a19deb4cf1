package rootimg

import (
	"bytes"
	"errors"
	"testing"
	"testing/iotest"

	"github.com/powernode/bootsmith/builder/dmverity"
)

// image returns an image of n data blocks and what to look for.
func image(t testing.TB, n int64) ([]byte, Wanted) {
	t.Helper()
	data := bytes.Repeat([]byte{1}, int(n*dmverity.BlockSize))
	h, err := dmverity.NewHasher(dmverity.Params{DataBlocks: n})
	if err != nil {
		t.Fatal(err)
	}
	h.Write(data)
	tree, err := h.Tree()
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.NewBuffer(data)
	if _, err := tree.WriteTo(b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), Wanted{RootHash: tree.RootHash(), Blocks: n}
}

func TestLook(t *testing.T) {
	img, wanted := image(t, 300)
	if int64(len(img)) != wanted.Size() {
		t.Errorf("%d bytes, want %d", len(img), wanted.Size())
	}
	damaged := bytes.Clone(img)
	damaged[301*dmverity.BlockSize] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want Kind
	}{
		"ours":     {img, Ours},
		"on disk":  {append(bytes.Clone(img), make([]byte, 1<<20)...), Ours},
		"damaged":  {damaged, Other},
		"cut":      {img[:len(img)-1], None},
		"empty":    {nil, None},
		"zeros":    {make([]byte, len(img)), None},
		"one more": {append(make([]byte, dmverity.BlockSize), img...), None},
	} {
		got, err := wanted.Look(bytes.NewReader(c.data), int64(len(c.data)))
		if err != nil || got != c.want {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
}

type broken struct{ error }

func (b broken) ReadAt(p []byte, _ int64) (int, error) { return iotest.ErrReader(b.error).Read(p) }

func TestLookUnreadable(t *testing.T) {
	bad := errors.New("bad sector")
	if got, err := (Wanted{Blocks: 2}).Look(broken{bad}, 1<<20); got != None || !errors.Is(err, bad) {
		t.Errorf("got %v, %v", got, err)
	}
}

// Whatever is on a disk, only an image with the wanted root hash is ours.
func FuzzLook(f *testing.F) {
	img, wanted := image(f, 2)
	f.Add(img)
	f.Add(img[:len(img)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := wanted.Look(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Error(err)
		}
		if got == Ours && !bytes.Equal(data[3*dmverity.BlockSize:4*dmverity.BlockSize], img[3*dmverity.BlockSize:]) {
			t.Error("a false hash tree was taken")
		}
	})
}
