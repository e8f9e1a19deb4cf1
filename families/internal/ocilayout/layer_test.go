package ocilayout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

// texts opens contents by what they are.
type texts struct{}

func (texts) Open(c tree.Content) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(c.Inline))), nil
}

func put(t *testing.T, to *tree.Tree, path string, i tree.Inode) {
	t.Helper()
	if err := to.Put(path, &i); err != nil {
		t.Fatal(err)
	}
}

func text(size int64, data string) tree.Inode {
	return tree.Inode{Mode: tree.TypeRegular | 0o644, Mtime: 5, Size: size, Content: tree.Content{Inline: []byte(data)}}
}

// TestGNUTar lets GNU tar list a layer.
func TestGNUTar(t *testing.T) {
	root := tree.New(0)
	put(t, root, "etc/file", text(3, "one"))
	put(t, root, "etc/sticky", tree.Inode{Mode: tree.TypeDir | 0o1777, UID: 1, GID: 2, MtimeNsec: 250_000_000, Mtime: 60})
	put(t, root, "null", tree.Inode{Mode: tree.TypeChar | 0o666, Major: 1, Minor: 3})
	put(t, root, "link", tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "etc/file"})
	if err := root.Link("etc/file", "hard"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "layer.tar.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := WriteLayer(t.Context(), f, root, texts{}); err != nil {
		t.Fatal(err)
	}
	want := `
drwxr-xr-x 0/0               0 1970-01-01 00:00:00 ./
drwxr-xr-x 0/0               0 1970-01-01 00:00:05 etc/
-rw-r--r-- 0/0               3 1970-01-01 00:00:05 etc/file
drwxrwxrwt 1/2               0 1970-01-01 00:01:00.25 etc/sticky/
hrw-r--r-- 0/0               0 1970-01-01 00:00:05 hard link to etc/file
lrwxrwxrwx 0/0               0 1970-01-01 00:00:00 link -> etc/file
crw-rw-rw- 0/0             1,3 1970-01-01 00:00:00 null`
	got := foreign.Run(t, "tar", "tar", "--full-time", "-tvzf", path)
	// The columns' widths depend on how tar reads the file.
	if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("tar lists:\n%s\nwant:%s", got, want)
	}
}

// TestWrongSize gives files another size than their contents have.
func TestWrongSize(t *testing.T) {
	for _, size := range []int64{2, 4} {
		root := tree.New(0)
		put(t, root, "file", text(size, "one"))
		if _, err := WriteLayer(t.Context(), io.Discard, root, texts{}); err == nil || !strings.Contains(err.Error(), `adding "file"`) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteLayer(ctx, io.Discard, tree.New(0), texts{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// BenchmarkWriteLayer writes 2000 files of 8 KiB that compress by about a half.
func BenchmarkWriteLayer(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	root := tree.New(0)
	const files, size = 2000, 8 << 10
	for n := range files {
		data := make([]byte, size)
		for i := range data {
			data[i] = "etaoin shrdlu\n.,"[rng.IntN(16)]
		}
		inode := text(size, string(data))
		if err := root.Put(fmt.Sprintf("dir%d/file%d", n%50, n), &inode); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(files * size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := WriteLayer(b.Context(), io.Discard, root, texts{}); err != nil {
			b.Fatal(err)
		}
	}
}
