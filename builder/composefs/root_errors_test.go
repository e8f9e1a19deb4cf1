package composefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/store"
)

func TestRootImageOfTooMuch(t *testing.T) {
	s, _ := newStore(t)
	tr := newTree(t, func(b builder) {
		for n := range 3 {
			b.put(fmt.Sprintf("/%d", n), content(maxFile, byte(n)))
		}
	})
	_, err := WriteRootImage(t.Context(), io.Discard, tr, s, testEpoch, testUUID)
	if err == nil || !strings.Contains(err.Error(), "blocks") {
		t.Errorf("got %v", err)
	}
}

func TestRootImageOfABadTree(t *testing.T) {
	s, _ := newStore(t)
	tr := newTree(t, func(b builder) { b.put("/x", symlink("")) })
	if _, err := WriteRootImage(t.Context(), io.Discard, tr, s, testEpoch, testUUID); err == nil {
		t.Error("no error")
	}
}

func TestRootImageOfAMissingObject(t *testing.T) {
	s, _ := newStore(t)
	tr := newTree(t, func(b builder) { b.put("/x", content(5000, 1)) })
	_, err := WriteRootImage(t.Context(), io.Discard, tr, s, testEpoch, testUUID)
	if !errors.Is(err, fs.ErrNotExist) || fault.ClassOf(err) != fault.Build {
		t.Errorf("got %v", err)
	}
}

func TestRootImageOfADamagedObject(t *testing.T) {
	for _, size := range []int64{100, 4096, 5000, 1 << 20} {
		s, dir := newStore(t)
		tr := storedTree(t, s, []int64{size})
		name := filepath.Join(dir, store.Path(fsverity.Sum(sample(size, 0))))
		if err := os.WriteFile(name, sample(size, 1), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := WriteRootImage(t.Context(), io.Discard, tr, s, testEpoch, testUUID)
		if fault.ClassOf(err) != fault.Build || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}

func TestRootImageOfAWrongSize(t *testing.T) {
	for _, size := range []int64{100, 4096, 8192, 5000} {
		for _, wrong := range []int64{-1, 1, 4096} {
			s, _ := newStore(t)
			tr := storedTree(t, s, []int64{size})
			n, err := tr.Lookup("/dir0/file0")
			if err != nil {
				t.Fatal(err)
			}
			n.Inode.Size += wrong
			_, err = WriteRootImage(t.Context(), io.Discard, tr, s, testEpoch, testUUID)
			if fault.ClassOf(err) != fault.Build {
				t.Errorf("%d%+d bytes: got %v", size, wrong, err)
			}
		}
	}
}

func TestRootImageIsCancelled(t *testing.T) {
	s, _ := newStore(t)
	tr := storedTree(t, s, []int64{1 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := WriteRootImage(ctx, io.Discard, tr, s, testEpoch, testUUID)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRootImageToAFailingWriter(t *testing.T) {
	s, _ := newStore(t)
	tr := storedTree(t, s, []int64{100, 5 << 20, 100})
	r, err := WriteRootImage(t.Context(), io.Discard, tr, s, testEpoch, testUUID)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{0, 300_000, r.DataBlocks * erofs.BlockSize, r.Size - 1} {
		_, err := WriteRootImage(t.Context(), &limited{int(n)}, tr, s, testEpoch, testUUID)
		if !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("after %d bytes: got %v", n, err)
		}
	}
}

func BenchmarkWriteRootImage(b *testing.B) {
	s, _ := newStore(b)
	var list []int64
	r := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		list = append(list, r.Int64N(50_000))
	}
	tr := storedTree(b, s, list)
	b.ReportAllocs()
	for b.Loop() {
		r, err := WriteRootImage(b.Context(), io.Discard, tr, s, testEpoch, testUUID)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(r.Size)
	}
}
