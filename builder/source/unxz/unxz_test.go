package unxz

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ulikunitz/xz"
)

// sample returns n bytes that compress by about a half.
func sample(n int) []byte {
	rng := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	rng.Read(b)
	for i := range b {
		if i%97 < 50 {
			b[i] = byte(i / 4096)
		}
	}
	return b
}

// compress runs xz(1), the reference writer.
func compress(t testing.TB, data []byte, args ...string) []byte {
	t.Helper()
	tool, err := exec.LookPath("xz")
	if err != nil {
		t.Fatal("xz is missing: install the Debian package xz-utils")
	}
	cmd := exec.Command(tool, append([]string{"-c", "-1"}, args...)...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func decompress(data []byte, workers int) ([]byte, error) {
	r := NewReader(bytes.NewReader(data), workers)
	defer r.Close()
	return io.ReadAll(r)
}

func TestReadsWhatXZWrites(t *testing.T) {
	data := sample(2 << 20)
	block := "--block-size=" + strconv.Itoa(1<<19)
	cases := map[string][]byte{
		"one block":       compress(t, data),
		"blocks":          compress(t, data, "-T2", block),
		"blocks no sizes": compress(t, data, "-T1", block),
		"crc32":           compress(t, data, "-T2", block, "-C", "crc32"),
		"sha256":          compress(t, data, "-T2", block, "-C", "sha256"),
		"no check":        compress(t, data, "-T2", block, "-C", "none"),
		"two streams":     append(append(compress(t, data[:1<<20]), 0, 0, 0, 0), compress(t, data[1<<20:], "-T2")...),
	}
	for name, packed := range cases {
		for _, workers := range []int{1, 2, 5} {
			got, err := decompress(packed, workers)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %d workers: %d bytes, error %v", name, workers, len(got), err)
			}
		}
	}
	if got, err := decompress(compress(t, nil), 2); err != nil || len(got) != 0 {
		t.Errorf("empty file: %d bytes, error %v", len(got), err)
	}
}

// TestDecoder uses one decoder for files of several kinds, damaged ones among
// them.
func TestDecoder(t *testing.T) {
	data := sample(1 << 20)
	packed := [][]byte{
		compress(t, data, "-T1"), compress(t, nil), compress(t, data, "-T2", "--block-size=100000"),
		append(compress(t, data[:1<<19]), compress(t, data[1<<19:], "-C", "crc32")...),
	}
	var d Decoder
	dst := []byte("before")
	for range 2 {
		for i, p := range packed {
			want := data
			if i == 1 {
				want = nil
			}
			got, err := d.Append(dst[:6], bytes.NewReader(p), 6+len(want))
			if err != nil || string(got[:6]) != "before" || !bytes.Equal(got[6:], want) {
				t.Fatalf("file %d: %d bytes, %v", i, len(got), err)
			}
			dst = got
			if _, err := d.Append(nil, bytes.NewReader(p[:len(p)-1]), 1<<21); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("file %d, cut: %v", i, err)
			}
			if _, err := d.Append(nil, bytes.NewReader(p), len(want)-1); err == nil && len(want) > 0 {
				t.Errorf("file %d is larger than the limit", i)
			}
		}
	}
}

func TestReadsLibrarysOutput(t *testing.T) {
	var buf bytes.Buffer
	w, err := xz.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	data := sample(200_000)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := decompress(buf.Bytes(), 2); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, error %v", len(got), err)
	}
}

func TestDamageNeverYieldsWrongBytes(t *testing.T) {
	data := sample(40_000)
	for _, args := range [][]string{{"-T1"}, {"-T2", "--block-size=20000"}} {
		packed := compress(t, data, args...)
		for i := 0; i < len(packed); i += 1 + i/16 {
			bad := bytes.Clone(packed)
			bad[i] ^= 0x10
			if got, err := decompress(bad, 2); err == nil && !bytes.Equal(got, data) {
				t.Errorf("%v: a flipped bit in byte %d of %d yields other bytes", args, i, len(packed))
			}
			if _, err := decompress(packed[:i], 2); err == nil {
				t.Errorf("%v: the end at byte %d of %d went unnoticed", args, i, len(packed))
			}
		}
	}
}

func TestCloseEarly(t *testing.T) {
	packed := compress(t, sample(3<<20), "-T2", "--block-size=262144")
	r := NewReader(bytes.NewReader(packed), 2)
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("Read after Close: %v", err)
	}
}

func TestOtherFiltersAreRefused(t *testing.T) {
	packed := compress(t, sample(1000), "--x86", "--lzma2")
	if _, err := decompress(packed, 1); err == nil {
		t.Fatal("no error")
	}
}

func FuzzReader(f *testing.F) {
	for _, args := range [][]string{{"-T1"}, {"-T2", "--block-size=500"}} {
		f.Add(compress(f, sample(2000), args...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data), 2)
		defer r.Close()
		mine, err := io.ReadAll(io.LimitReader(r, 1<<22))
		if err != nil {
			return
		}
		theirs, err := xz.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("the library refuses what was accepted: %v", err)
		}
		want, err := io.ReadAll(io.LimitReader(theirs, 1<<22))
		if err != nil || !bytes.Equal(mine, want) {
			t.Fatalf("%d bytes; the library reads %d, %v", len(mine), len(want), err)
		}
		var d Decoder
		if whole, err := d.Append(nil, bytes.NewReader(data), 1<<23); len(mine) < 1<<22 && (err != nil || !bytes.Equal(whole, mine)) {
			t.Fatalf("%d bytes; a Decoder reads %d, %v", len(mine), len(whole), err)
		}
	})
}

// BenchmarkReader reads 24 MiB of sample data in 4 MiB blocks.
func BenchmarkReader(b *testing.B) {
	packed := compress(b, sample(24<<20), "-T2", "--block-size=4194304")
	for _, workers := range []int{1, 2} {
		b.Run(strconv.Itoa(workers), func(b *testing.B) {
			b.SetBytes(24 << 20)
			for b.Loop() {
				r := NewReader(bytes.NewReader(packed), workers)
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}

func TestFileOnDisk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f.xz")
	data := sample(100_000)
	if err := os.WriteFile(name, compress(t, data), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := NewReader(f, 2)
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, error %v", len(got), err)
	}
}
