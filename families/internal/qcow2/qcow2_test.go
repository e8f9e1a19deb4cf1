package qcow2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

// content makes bytes of three kinds, in runs of random length: zeros, text
// that compresses and noise that does not.
func content(seed uint64, size int) []byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	out := make([]byte, 0, size)
	for len(out) < size {
		n := min(1+rng.IntN(5*clusterSize), size-len(out))
		switch rng.IntN(3) {
		case 0:
			out = append(out, make([]byte, n)...)
		case 1:
			out = append(out, bytes.Repeat([]byte("bootsmith "), n/10+1)[:n]...)
		default:
			for range n {
				out = append(out, byte(rng.Uint32()))
			}
		}
	}
	return out
}

func opener(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// disk is sparse: content at both ends and in the middle, at odd places.
func disk(size int64, data []byte) *extent.Image {
	image := extent.New(size)
	n := int64(len(data))
	image.AddFile(0, n, "start", opener(data))
	image.AddFile(size/2+1, n, "middle", opener(data))
	image.AddFile(size-n, n, "end", opener(data))
	return image
}

func convert(t testing.TB, image *extent.Image, workers int, out extent.Writer) {
	t.Helper()
	w, err := NewWriter(t.Context(), Options{Size: image.Size(), Scratch: t.TempDir(), Workers: workers})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := image.Copy(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(out); err != nil {
		t.Fatal(err)
	}
}

type fileWriter struct{ *os.File }

func (f fileWriter) Skip(n int64) error {
	_, err := f.Write(make([]byte, n))
	return err
}

func save(t testing.TB, image *extent.Image) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "*.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	convert(t, image, 2, fileWriter{f})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func checkWithQEMU(t *testing.T, image *extent.Image) {
	t.Helper()
	path := save(t, image)
	if out := foreign.Run(t, "qemu-utils", "qemu-img", "check", "-f", "qcow2", path); !strings.Contains(out, "No errors were found") {
		t.Error(out)
	}
	raw := foreign.Save(t, image)
	foreign.Run(t, "qemu-utils", "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path)
}

func TestQEMU(t *testing.T) {
	for name, image := range map[string]*extent.Image{
		"empty":           extent.New(512),
		"one sector":      disk(3*512, []byte("x")),
		"odd end":         disk(10<<20+512, content(1, 2<<20)),
		"one L2 table":    disk(512<<20, content(2, 4<<20)),
		"second L2 table": disk(512<<20+512, content(3, 1<<20)),
		"many L2 tables":  disk(3<<30, content(4, 2<<20)),
		"second refcount": disk(8<<40, content(5, 100000)),
		"only noise":      noise(5 << 20),
	} {
		t.Run(name, func(t *testing.T) { checkWithQEMU(t, image) })
	}
}

// noise is a disk without a cluster that compresses.
func noise(size int64) *extent.Image {
	image := extent.New(size)
	image.AddFile(0, size, "noise", func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(rand.NewChaCha8([32]byte{1}), size)), nil
	})
	return image
}

// TestSecondRefcountBlock has more clusters than one refcount block counts. The
// stored clusters are holes, so that the test takes no space.
func TestSecondRefcountBlock(t *testing.T) {
	const clusters = countsPer + 10
	s, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.raw.size = clusters * clusterSize
	if err := s.raw.f.Truncate(s.raw.size); err != nil {
		t.Fatal(err)
	}
	for i := range int64(clusters) {
		s.entries = append(s.entries, entry{index: 2 * i, offset: i * clusterSize})
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.write(t.Context(), 2*clusters*clusterSize, holeWriter{f}); err != nil {
		t.Fatal(err)
	}
	if out := foreign.Run(t, "qemu-utils", "qemu-img", "check", f.Name()); !strings.Contains(out, "No errors were found") {
		t.Error(out)
	}
}

// holeWriter makes holes of clusters of zeros.
type holeWriter struct{ *os.File }

func (h holeWriter) Write(p []byte) (int, error) {
	if len(p) == clusterSize && bytes.Equal(p, zeros[:]) {
		return len(p), h.Skip(clusterSize)
	}
	return h.File.Write(p)
}

func (h holeWriter) Skip(n int64) error {
	end, err := h.Seek(n, io.SeekCurrent)
	if err != nil {
		return err
	}
	return h.Truncate(end)
}

// TestDeterminism cuts the same disk into different writes and compresses it on
// different numbers of CPUs.
func TestDeterminism(t *testing.T) {
	data := content(7, 6<<20)
	want := ""
	for i, workers := range []int{1, 2, 7} {
		h := hashWriter{sha256.New()}
		image := extent.New(20 << 20)
		image.AddBytes(1<<20, data[:(i+1)*100001])
		image.AddBytes(1<<20+int64(i+1)*100001, data[(i+1)*100001:])
		convert(t, image, workers, h)
		got := string(h.Sum(nil))
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%d workers write other bytes", workers)
		}
	}
}

// summer is what the tests need of a hash.
type summer interface {
	io.Writer
	Sum([]byte) []byte
}

type hashWriter struct{ summer }

func (h hashWriter) Skip(n int64) error {
	_, err := h.Write(make([]byte, n))
	return err
}

// TestZerosAreNotStored compares a hole with zeros that were written.
func TestZerosAreNotStored(t *testing.T) {
	written := extent.New(10 << 20)
	written.AddBytes(0, make([]byte, 10<<20))
	var one, two bytes.Buffer
	convert(t, written, 1, bufferWriter{&one})
	convert(t, extent.New(10<<20), 1, bufferWriter{&two})
	if !bytes.Equal(one.Bytes(), two.Bytes()) || one.Len() != 4*clusterSize {
		t.Errorf("%d and %d bytes, want %d", one.Len(), two.Len(), 4*clusterSize)
	}
}

type bufferWriter struct{ *bytes.Buffer }

func (b bufferWriter) Skip(n int64) error {
	_, err := b.Write(make([]byte, n))
	return err
}

func TestHeader(t *testing.T) {
	var out bytes.Buffer
	convert(t, extent.New(10<<20), 1, bufferWriter{&out})
	b := out.Bytes()
	if string(b[:4]) != "QFI\xfb" || binary.BigEndian.Uint32(b[4:]) != 3 || binary.BigEndian.Uint64(b[24:]) != 10<<20 {
		t.Errorf("% x", b[:104])
	}
}

func TestErrors(t *testing.T) {
	for _, size := range []int64{0, -512, 513, maxSize + 512} {
		if _, err := NewWriter(t.Context(), Options{Size: size, Scratch: t.TempDir()}); err == nil {
			t.Errorf("size %d is accepted", size)
		}
	}
	if _, err := NewWriter(t.Context(), Options{Size: 512, Scratch: "/nonexistent"}); err == nil {
		t.Error("a missing scratch folder is accepted")
	}
	scratch := t.TempDir()
	w, err := NewWriter(t.Context(), Options{Size: 1024, Scratch: scratch})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1025)); err == nil {
		t.Error("more bytes than the disk has are accepted")
	}
	if err := w.Finish(bufferWriter{&bytes.Buffer{}}); err == nil || !strings.Contains(err.Error(), "0 of 1024") {
		t.Errorf("finishing an incomplete disk: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(scratch); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStoreFails(t *testing.T) {
	full := errors.New("no space left")
	p := newPool(t.Context(), 2, func(*job) error { return full })
	defer p.stop()
	j, err := p.next()
	for range 100 {
		if err != nil {
			break
		}
		j.data = append(j.data[:0], zeros[:]...)
		j, err = p.submit(j)
	}
	if !errors.Is(err, full) {
		t.Errorf("%v, want %v", err, full)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := NewWriter(ctx, Options{Size: 1 << 40, Scratch: t.TempDir(), Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	block := content(8, 1<<20)
	for range 1000 {
		if _, err = w.Write(block); err != nil {
			break
		}
		cancel()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if _, again := w.Write(block); again == nil {
		t.Error("a write after the error succeeds")
	}
}

// BenchmarkWrite writes 64 MiB of which a third each is zeros, text and noise.
func BenchmarkWrite(b *testing.B) {
	data := content(9, 64<<20)
	image := extent.New(1 << 30)
	image.AddBytes(0, data)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		convert(b, image, 2, hashWriter{discard{}})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Sum([]byte) []byte           { return nil }
