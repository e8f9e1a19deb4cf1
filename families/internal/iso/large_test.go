package iso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/families/internal/foreign"
)

// marked is a file of zeros in which each whole MiB begins with its number.
type marked struct{ at, size int64 }

func (m *marked) Read(b []byte) (int, error) {
	if m.at == m.size {
		return 0, io.EOF
	}
	in := m.at % (1 << 20)
	n := int(min(int64(len(b)), 1<<20-in, m.size-m.at))
	clear(b[:n])
	if in == 0 && n >= 8 {
		n = min(n, 4096) // all else is a hole
		binary.LittleEndian.PutUint64(b, uint64(m.at))
	}
	m.at += int64(n)
	return n, nil
}

func (m *marked) Close() error { return nil }

// holes makes holes of blocks of zeros.
type holes struct{ *os.File }

func (h holes) Write(b []byte) (int, error) {
	if bytes.Equal(b, make([]byte, len(b))) {
		return len(b), h.Skip(int64(len(b)))
	}
	return h.File.Write(b)
}

func (h holes) Skip(n int64) error {
	_, err := h.Seek(n, io.SeekCurrent)
	return err
}

// TestLargeFile stores a file of a full extent and a bit: xorriso must find its
// size and what is around the seam.
func TestLargeFile(t *testing.T) {
	const size = maxSection + 3<<20 + 17
	image := newImage(t, config(), []Entry{
		{Path: "large", Mode: 0o444, Size: size, Open: func() (io.ReadCloser, error) { return &marked{size: size}, nil }},
		regular("zz behind it", "end"),
	})
	path := filepath.Join(t.TempDir(), "large.iso")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := image.Copy(t.Context(), holes{f}); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(image.Size()); err != nil {
		t.Fatal(err)
	}
	listing := foreign.Run(t, "xorriso", "xorriso", "-indev", path, "-lsl", "/", "--", "-find", "/large", "-exec", "report_sections", "--")
	if !strings.Contains(listing, fmt.Sprint(" ", int64(size), " ")) {
		t.Errorf("xorriso finds another size than %d:\n%s", int64(size), listing)
	}
	if n := strings.Count(listing, "File data lba:"); n != 2 {
		t.Errorf("xorriso finds %d sections:\n%s", n, listing)
	}
	for _, at := range []int64{0, 1 << 20, maxSection - 2048} {
		checkSlice(t, path, at, 3<<20)
	}
	large, err := openImage(t, path).OpenFile("large")
	if err != nil || large.Size() != size {
		t.Fatalf("the large file has %v bytes (%v), want %d", large, err, int64(size))
	}
	seam := make([]byte, 8)
	if _, err := large.ReadAt(seam, maxSection/(1<<20)*(1<<20)); err != nil || binary.LittleEndian.Uint64(seam) != maxSection/(1<<20)*(1<<20) {
		t.Errorf("at the seam: % x, %v", seam, err)
	}
	if out := foreign.Run(t, "xorriso", "xorriso", "-osirrox", "on", "-indev", path, "-extract", "/zz behind it", path+".end"); string(readFile(t, path+".end")) != "end" {
		t.Errorf("the file behind the large one differs: %s", out)
	}
}

// checkSlice compares bytes of the large file as xorriso reads them.
func checkSlice(t *testing.T, path string, at, n int64) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "slice")
	foreign.Run(t, "xorriso", "xorriso", "-osirrox", "on", "-indev", path, "-extract_cut", "/large", fmt.Sprint(at), fmt.Sprint(n), out)
	want := make([]byte, n)
	whole := at &^ (1<<20 - 1)
	for ; whole < at+n; whole += 1 << 20 {
		var mark [8]byte
		binary.LittleEndian.PutUint64(mark[:], uint64(whole))
		for i, c := range mark {
			if p := whole + int64(i) - at; p >= 0 && p < n {
				want[p] = c
			}
		}
	}
	if !bytes.Equal(readFile(t, out), want) {
		t.Errorf("%d bytes at %d differ", n, at)
	}
}
