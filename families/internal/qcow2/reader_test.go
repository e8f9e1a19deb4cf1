package qcow2

import (
	"bytes"
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

func openReader(t testing.TB, path string) *Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenImage(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkReader compares an image with the raw disk: in one go, and at random.
func checkReader(t *testing.T, path, rawPath string) {
	t.Helper()
	r := openReader(t, path)
	want, err := os.ReadFile(rawPath)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, of which some differ from the %d of the disk", len(got), len(want))
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		at := rng.Int64N(r.Size())
		p := make([]byte, rng.IntN(3*r.ClusterSize))
		n, err := r.ReadAt(p, at)
		if left := int(r.Size() - at); n != min(len(p), left) || (err == io.EOF) != (n < len(p)) {
			t.Fatalf("%d bytes at %d: %d, %v", len(p), at, n, err)
		}
		if !bytes.Equal(p[:n], want[at:int(at)+n]) {
			t.Fatalf("%d bytes at %d differ", len(p), at)
		}
	}
}

func TestReadOwn(t *testing.T) {
	image := disk(40<<20+512, content(1, 2<<20))
	checkReader(t, save(t, image), foreign.Save(t, image))
}

// TestReadForeign reads what qemu-img has written: both versions, both ways to
// store clusters, clusters of several sizes.
func TestReadForeign(t *testing.T) {
	raw := foreign.Save(t, disk(9<<20+512, content(2, 2<<20)))
	for _, options := range []string{
		"compat=1.1", "compat=0.10", "cluster_size=512", "cluster_size=2M", "preallocation=metadata", "lazy_refcounts=on",
	} {
		for _, packed := range []bool{false, true} {
			name := options
			if packed {
				name += " compressed"
				if strings.HasPrefix(options, "preallocation") {
					continue // qemu-img takes one or the other
				}
			}
			t.Run(name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "image")
				args := []string{"convert", "-f", "raw", "-O", "qcow2", "-o", options, raw, path}
				if packed {
					args = append(args[:1], append([]string{"-c"}, args[1:]...)...)
				}
				foreign.Run(t, "qemu-utils", "qemu-img", args...)
				checkReader(t, path, raw)
			})
		}
	}
}

// smallImage is an image of one compressed and one stored cluster.
func smallImage(t testing.TB) []byte {
	t.Helper()
	image := extent.New(4 * clusterSize)
	image.AddBytes(0, bytes.Repeat([]byte("packed"), 100))
	image.AddBytes(clusterSize, content(3, clusterSize))
	var out bytes.Buffer
	convert(t, image, 1, bufferWriter{&out})
	return out.Bytes()
}

func TestReadRefuses(t *testing.T) {
	be := binary.BigEndian
	for name, change := range map[string]func([]byte){
		"another magic":     func(b []byte) { b[0]++ },
		"version 4":         func(b []byte) { b[7] = 4 },
		"a backing file":    func(b []byte) { b[15] = 1 },
		"tiny clusters":     func(b []byte) { b[23] = 8 },
		"huge clusters":     func(b []byte) { b[23] = 22 },
		"encryption":        func(b []byte) { b[35] = 1 },
		"unknown features":  func(b []byte) { b[79] = 4 },
		"zstd":              func(b []byte) { be.PutUint32(b[100:], 112); b[104] = 1 },
		"a huge L1 table":   func(b []byte) { b[36] = 0xff },
		"a small L1 table":  func(b []byte) { be.PutUint32(b[36:], 0) },
		"an L1 table apart": func(b []byte) { b[40] = 0x70 },
		"an L2 table apart": func(b []byte) { b[be.Uint64(b[40:])+1] = 0x70 },
		"a cluster apart":   func(b []byte) { l2 := be.Uint64(b[be.Uint64(b[40:]):]) & offsetMask; b[l2+9] = 0x70 },
		"a broken cluster":  func(b []byte) { clear(b[len(b)-clusterSize:]) },
	} {
		b := bytes.Clone(smallImage(t))
		change(b)
		r, err := OpenImage(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			_, err = io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size()))
		}
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := OpenImage(strings.NewReader("QFI"), 3); !errors.Is(err, ErrFormat) {
		t.Errorf("a stump: %v", err)
	}
}

func FuzzOpenImage(f *testing.F) {
	b := smallImage(f)
	be := binary.BigEndian
	l1 := be.Uint64(b[40:])
	l2 := be.Uint64(b[l1:]) & offsetMask
	f.Add(b[:112], b[l1:l1+16], b[l2:l2+64], b[len(b)-clusterSize:])
	f.Fuzz(func(t *testing.T, header, l1, l2, data []byte) {
		// The layout of a small image with clusters of 512 bytes.
		b := make([]byte, 8192)
		copy(b[:512], header)
		copy(b[512:1024], l1)
		copy(b[1024:2048], l2)
		copy(b[2048:], data)
		r, err := OpenImage(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, at := range []int64{0, r.Size() / 2, max(0, r.Size()-1000)} {
			p := make([]byte, 3000)
			if n, err := r.ReadAt(p, at); err == nil && n != len(p) {
				t.Errorf("%d bytes at %d without an error", n, at)
			}
		}
	})
}
