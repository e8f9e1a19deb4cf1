package composefs

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/dmverity"
)

func TestIdentify(t *testing.T) {
	s, _ := newStore(t)
	want, name := writeRoot(t, storedTree(t, s, sizes()), s)
	image, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	identify := func(image []byte) (RootImage, int, error) {
		return Identify(t.Context(), bytes.NewReader(image), int64(len(image)))
	}
	got, objects, err := identify(append(bytes.Clone(image), "more"...))
	if err != nil || got != want || objects == 0 {
		t.Errorf("%+v with %d objects (%v), want %+v", got, objects, err, want)
	}
	damaged := bytes.Clone(image)
	damaged[want.DataBlocks*erofs.BlockSize-5000] ^= 1
	if _, _, err := identify(damaged); !errors.Is(err, dmverity.ErrMismatch) {
		t.Errorf("a changed byte: %v", err)
	}
	forged, _ := sealed(t, damaged[:want.DataBlocks*erofs.BlockSize])
	if _, _, err := identify(forged); !errors.Is(err, ErrMismatch) {
		t.Errorf("a forged image: %v", err)
	}
	for _, n := range []int64{0, 100, 4096, want.DataBlocks * erofs.BlockSize, want.Size - 1} {
		if _, _, err := identify(image[:n]); err == nil {
			t.Errorf("%d bytes are accepted", n)
		}
	}
}
