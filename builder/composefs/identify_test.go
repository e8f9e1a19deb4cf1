package composefs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

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

// A false image whose objects hold themselves is refused, not walked for ever.
func TestIdentifyFoldersInFolders(t *testing.T) {
	s, _ := newStore(t)
	r, name := writeRoot(t, storedTree(t, s, []int64{65, 4097}), s)
	image, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// Each folder's entry "..", behind ".", gets a name in its place that is walked into.
	data := bytes.ReplaceAll(image[:r.DataBlocks*erofs.BlockSize], []byte("..."), []byte("..-"))
	forged, _ := sealed(t, data)
	_, _, err = Identify(t.Context(), bytes.NewReader(forged), int64(len(forged)))
	if !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "is a folder, not an object") {
		t.Errorf("got %v", err)
	}
}

// A hash tree says nothing about who made it: the file system below one that is
// right may hold anything.
func FuzzIdentify(f *testing.F) {
	s, _ := newStore(f)
	r, name := writeRoot(f, storedTree(f, s, []int64{65, 4097}), s)
	image, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	data := image[:r.DataBlocks*erofs.BlockSize]
	f.Add(uint16(0), []byte{})
	for at := uint16(erofs.SuperblockOffset); int(at) < len(data)-8 && at < 3*erofs.BlockSize; at += 16 {
		f.Add(at, []byte{0xff, 0xff, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, at uint16, change []byte) {
		changed := bytes.Clone(data)
		copy(changed[int(at)%len(data):], change)
		forged, _ := sealed(t, changed)
		// A file of many EiB takes longer than anybody waits.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/4)
		defer cancel()
		got, _, err := Identify(ctx, bytes.NewReader(forged), int64(len(forged)))
		if err != nil {
			return
		}
		// What is identified is what is accepted.
		if err := CheckRootImage(t.Context(), bytes.NewReader(forged), got); err != nil {
			t.Errorf("at %d, %x: %+v: %v", at, change, got, err)
		}
	})
}
