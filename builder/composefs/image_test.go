package composefs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/composefs/oracle"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

func mkcomposefs(t *testing.T) *oracle.Tool {
	t.Helper()
	tool, err := oracle.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

// compare checks that mkcomposefs makes the same image of a tree.
func compare(t *testing.T, tool *oracle.Tool, tr *tree.Tree) []byte {
	t.Helper()
	var ours, dump bytes.Buffer
	digest, err := WriteImage(&ours, tr)
	if err != nil {
		t.Fatal(err)
	}
	if digest != fsverity.Sum(ours.Bytes()) {
		t.Error("the digest is not that of the image")
	}
	if err := WriteDump(&dump, tr); err != nil {
		t.Fatal(err)
	}
	theirs, err := tool.Image(t.Context(), bytes.NewReader(dump.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours.Bytes(), theirs) {
		t.Errorf("our %d bytes differ from their %d, first at %d", ours.Len(), len(theirs), firstDifference(ours.Bytes(), theirs))
	}
	return ours.Bytes()
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func TestImageEqualsMkcomposefs(t *testing.T) {
	tool := mkcomposefs(t)
	for _, c := range corpus {
		t.Run(c.name, func(t *testing.T) {
			tr := newTree(t, c.fill)
			compareDump(t, tool, tr, compare(t, tool, tr))
		})
	}
}

// compareDump checks that composefs-info reads back what was written, and that
// fsverity finds its digest.
func compareDump(t *testing.T, tool *oracle.Tool, tr *tree.Tree, image []byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "root.cfs")
	if err := os.WriteFile(name, image, 0o600); err != nil {
		t.Fatal(err)
	}
	digest := fsverity.Sum(image)
	if got := run(t, program(t, "fsverity", "fsverity"), "digest", "--compact", name); got != fmt.Sprintf("%x\n", digest) {
		t.Errorf("fsverity says %s, we %x", got, digest)
	}
	theirs, err := tool.Dump(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	again, err := tool.Image(t.Context(), bytes.NewReader(theirs))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(image, again) {
		t.Errorf("the image of composefs-info's dump is another one, first at %d", firstDifference(image, again))
	}
	var dump bytes.Buffer
	if err := WriteDump(&dump, tr); err != nil {
		t.Fatal(err)
	}
	if a, b := bytes.Count(theirs, []byte("\n")), bytes.Count(dump.Bytes(), []byte("\n")); a != b {
		t.Errorf("composefs-info lists %d names, we %d", a, b)
	}
}

func TestRandomImagesEqualMkcomposefs(t *testing.T) {
	tool := mkcomposefs(t)
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			tr := newTree(t, func(b builder) { newRandom(seed, b).fill() })
			compare(t, tool, tr)
		})
	}
}

func TestImageIsTheSameTwice(t *testing.T) {
	for _, c := range corpus {
		var images [2]bytes.Buffer
		for n := range images {
			if _, err := WriteImage(&images[n], newTree(t, c.fill)); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(images[0].Bytes(), images[1].Bytes()) {
			t.Errorf("%s: two images differ", c.name)
		}
	}
}

// A directory that has whiteouts and an overlay xattr that marks such
// directories is something that mkcomposefs 1.0 fails on.
func TestWhiteoutsInAMarkedDirectory(t *testing.T) {
	tr := newTree(t, func(b builder) {
		b.put("/dir", withXattrs(special(tree.TypeDir|0o755, 0, 0), "trusted.overlay.opaque", "y", "user.overlay.whiteouts", "z"))
		b.put("/dir/gone", special(tree.TypeChar, 0, 0))
	})
	root, version, err := fromTree(tr, plain())
	if err != nil || version != 1 {
		t.Fatal(version, err)
	}
	for _, e := range root.entries {
		if e.name != "dir" {
			continue
		}
		a := e.file.attrs
		if a["trusted.overlay.overlay.opaque"] != "x" || a["user.overlay.whiteouts"] != "" || len(a) != 4 {
			t.Errorf("xattrs of the directory: %q", a)
		}
	}
}

func TestWhatAnImageCantHold(t *testing.T) {
	long := strings.Repeat("x", 300)
	cases := map[string]*tree.Inode{
		"no type":           {Mode: 0o644},
		"too many bits":     {Mode: 1<<16 | tree.TypeDir},
		"nanoseconds":       {Mode: tree.TypeDir, MtimeNsec: 1_000_000_000},
		"negative size":     {Mode: tree.TypeRegular, Size: -1},
		"too large":         content(maxFile+1, 0),
		"no digest":         {Mode: tree.TypeRegular, Size: 65},
		"large inline":      {Mode: tree.TypeRegular, Size: 65, Content: tree.Content{Inline: make([]byte, 65), Verity: tree.Digest{1}}},
		"missing inline":    {Mode: tree.TypeRegular, Size: 3, Content: tree.Content{Verity: tree.Digest{1}}},
		"empty target":      symlink(""),
		"long target":       symlink(strings.Repeat("x", 4096)),
		"NUL in target":     symlink("a\x00b"),
		"major":             special(tree.TypeChar, 4096, 0),
		"minor":             special(tree.TypeBlock, 1, 1<<20),
		"long xattr name":   withXattrs(content(0, 0), "user."+long, ""),
		"empty xattr name":  withXattrs(content(0, 0), "", "x"),
		"NUL in xattr name": withXattrs(content(0, 0), "user.\x00", ""),
		"long xattr":        withXattrs(content(0, 0), "user.x", strings.Repeat("v", 32767)),
	}
	for name, inode := range cases {
		tr := newTree(t, func(b builder) { b.put("/dir/file", inode) })
		_, err := WriteImage(io.Discard, tr)
		if err == nil || !strings.Contains(err.Error(), "/dir") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// limited fails after n bytes.
type limited struct{ n int }

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.n {
		return 0, io.ErrShortWrite
	}
	l.n -= len(p)
	return len(p), nil
}

func TestFailingWriters(t *testing.T) {
	tr := newTree(t, corpus[1].fill)
	if _, err := WriteImage(&limited{}, tr); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("WriteImage: %v", err)
	}
	if err := WriteDump(&limited{}, tr); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("WriteDump: %v", err)
	}
	big := newTree(t, corpus[len(corpus)-1].fill)
	if err := WriteDump(&limited{}, big); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("WriteDump of much: %v", err)
	}
}

// Vectors of the xxHash specification's reference program.
func TestXXH32(t *testing.T) {
	for _, c := range []struct {
		data string
		seed uint32
		want uint32
	}{
		{"", 0, 0x02CC5D05},
		{"a", 0, 0x550d7456},
		{"abc", 0, 0x32D153FF},
		{"Nobody inspects the spammish repetition", 0, 0xE2293B2F},
	} {
		if got := xxh32([]byte(c.data), c.seed); got != c.want {
			t.Errorf("%q: got %#x, want %#x", c.data, got, c.want)
		}
	}
}

func BenchmarkWriteImage(b *testing.B) {
	tr := newTree(b, func(b builder) {
		for n := range 50_000 {
			b.put(fmt.Sprintf("/usr/%d/%d/file-%d", n%50, n%500, n), content(int64(n%200), byte(n)))
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := WriteImage(io.Discard, tr); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*50_000/b.Elapsed().Seconds(), "files/s")
}
