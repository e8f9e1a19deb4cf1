package fsverity

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sample returns n bytes that are the same in every run.
func sample(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// toolDigest asks the fsverity program of fsverity-utils.
func toolDigest(t *testing.T, data []byte, algorithm string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return toolDigestOf(t, name, algorithm)
}

func toolDigestOf(t *testing.T, name, algorithm string) string {
	t.Helper()
	tool, err := exec.LookPath("fsverity")
	if err != nil {
		t.Fatal("the program fsverity is missing; install the Debian package fsverity")
	}
	out, err := exec.Command(tool, "digest", "--compact", "--hash-alg="+algorithm, name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestDigestEqualsFsverityUtils(t *testing.T) {
	const full = 128 * BlockSize // one full tree block
	for _, n := range []int{0, 1, 63, 64, 65, 4095, 4096, 4097, 8192, 12345,
		full - 1, full, full + 1, 2 * full, 64 * BlockSize, 64*BlockSize + 1, 64*64*BlockSize - 1, 64 * 64 * BlockSize, 64*64*BlockSize + 1, 128*full - 5, 128 * full, 128*full + 1, 129 * full} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			data := sample(n)
			got := Sum(data)
			if want := toolDigest(t, data, "sha256"); hex.EncodeToString(got[:]) != want {
				t.Errorf("got %x, want %s", got, want)
			}
			wide := New512()
			for rest := data; len(rest) > 0; {
				k := min(len(rest), 5000)
				wide.Write(rest[:k])
				rest = rest[k:]
			}
			if got, want := wide.Sum(), toolDigest(t, data, "sha512"); hex.EncodeToString(got[:]) != want {
				t.Errorf("got %x, want %s", got, want)
			}
		})
	}
}

// A sparse file beyond 4 GiB, with data at its begin, around 4 GiB and at its end.
func TestDigestOfSparseFile(t *testing.T) {
	const size = 4<<30 + 3*BlockSize + 77
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{0, 4<<30 - 10, size - 20} {
		if _, err := f.WriteAt(sample(20), at); err != nil {
			t.Fatal(err)
		}
	}
	h := New()
	if n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20)); n != size || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if got, want := h.Sum(), toolDigestOf(t, f.Name(), "sha256"); hex.EncodeToString(got[:]) != want {
		t.Errorf("got %x, want %s", got, want)
	}
}

func TestWriteSizesDoNotMatter(t *testing.T) {
	data := sample(3*128*BlockSize + 77)
	want := Sum(data)
	for _, step := range []int{1, 31, 4095, 4096, 4097, 100_000} {
		h := New()
		for rest := data; len(rest) > 0; {
			n := min(step, len(rest))
			if got, err := h.Write(rest[:n]); got != n || err != nil {
				t.Fatalf("Write returned %d, %v", got, err)
			}
			rest = rest[n:]
		}
		if h.Sum() != want || h.Size() != int64(len(data)) {
			t.Errorf("writes of %d bytes: digest %x of %d bytes, want %x", step, h.Sum(), h.Size(), want)
		}
	}
}

func TestSumKeepsTheStreamGoing(t *testing.T) {
	data := sample(200 * BlockSize)
	h := New()
	for i := 0; i <= len(data); i += 999 {
		if got, want := h.Sum(), Sum(data[:i]); got != want {
			t.Fatalf("after %d bytes: got %x, want %x", i, got, want)
		}
		h.Write(data[i:min(i+999, len(data))])
	}
}

func TestReset(t *testing.T) {
	h := New()
	h.Write(sample(300 * BlockSize))
	h.Reset()
	h.Write([]byte("x"))
	if h.Sum() != Sum([]byte("x")) || h.Size() != 1 {
		t.Error("a Hasher remembers the stream before Reset")
	}
}

func TestSumDoesNotTouchData(t *testing.T) {
	data := sample(4097)
	before := bytes.Clone(data)
	Sum(data)
	if !bytes.Equal(data, before) {
		t.Error("data changed")
	}
}

func BenchmarkHasher(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			data := sample(size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			h := New()
			for b.Loop() {
				h.Reset()
				h.Write(data)
				h.Sum()
			}
		})
	}
}
