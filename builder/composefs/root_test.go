package composefs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	goerofs "github.com/erofs/go-erofs"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/dmverity"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

var (
	testEpoch = time.Unix(1_700_000_000, 0)
	testUUID  = [16]byte{0xb0, 0x07, 0x51, 0x17, 4: 0x12, 6: 0x40, 8: 0x80, 15: 9}
)

// storedTree returns a tree of files with the given sizes, whose contents are in
// the store.
func storedTree(t testing.TB, s *store.Store, sizes []int64) *tree.Tree {
	t.Helper()
	return newTree(t, func(b builder) {
		for n, size := range sizes {
			c, got, err := s.Put(bytes.NewReader(sample(size, byte(n))))
			if err != nil || got != size {
				t.Fatal(got, err)
			}
			name := fmt.Sprintf("/dir%d/file%d", n%7, n)
			b.put(name, &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: size, Content: c, Mtime: int64(n)})
			if n%5 == 0 {
				b.link(name, name+".link")
			}
			if n%6 == 0 {
				b.put(name+".copy", &tree.Inode{Mode: tree.TypeRegular | 0o600, Size: size, Content: c})
			}
		}
	})
}

// sizes are the lengths of files that meet every case of the packing.
func sizes() []int64 {
	s := []int64{0, 1, 64, 65, 1000, 2048, 4000, 4063, 4064, 4065, 4095, 4096, 4097, 8160, 8161, 12288, 1 << 20, 1<<20 + 4064, 3<<20 + 17}
	r := rand.New(rand.NewPCG(1, 2))
	for range 600 {
		s = append(s, r.Int64N(20_000))
	}
	return s
}

func newStore(t testing.TB) (*store.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// writeRoot writes a root image to a file.
func writeRoot(t testing.TB, tr *tree.Tree, s *store.Store) (RootImage, string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "root.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := WriteRootImage(t.Context(), f, tr, s, testEpoch, testUUID)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != r.Size {
		t.Fatalf("%d bytes were written, want %d (%v)", info.Size(), r.Size, err)
	}
	return r, f.Name()
}

// program finds a program that a Debian package brings.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p := filepath.Join(dir, name); isFile(p) {
			return p
		}
	}
	t.Fatalf("the program %s is missing; install the Debian package %s", name, pkg)
	return ""
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

func TestRootImagePassesTheTools(t *testing.T) {
	s, _ := newStore(t)
	for name, sizes := range map[string][]int64{"many": sizes(), "none": nil, "one": {100}, "one block": {4096}, "two": {4064, 65}} {
		t.Run(name, func(t *testing.T) {
			r, file := writeRoot(t, storedTree(t, s, sizes), s)
			run(t, program(t, "fsck.erofs", "erofs-utils"), "--extract", file)
			run(t, program(t, "veritysetup", "cryptsetup-bin"), "verify", file, file, hex.EncodeToString(r.RootHash[:]),
				fmt.Sprintf("--hash-offset=%d", r.DataBlocks*erofs.BlockSize))
		})
	}
}

func TestRootImageReadBack(t *testing.T) {
	s, dir := newStore(t)
	tr := storedTree(t, s, sizes())
	r, name := writeRoot(t, tr, s)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := goerofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	digest, err := WriteImage(&want, tr)
	if err != nil || digest != r.Digest {
		t.Fatalf("digest %x, want %x (%v)", r.Digest, digest, err)
	}
	if got, err := fs.ReadFile(img, ImageFile); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("/%s: %d bytes, %v", ImageFile, len(got), err)
	}
	got := listObjects(t, img)
	if stored := listObjects(t, os.DirFS(filepath.Dir(linkObjects(t, dir)))); !slices.Equal(got, stored) {
		t.Errorf("%d objects in the image, %d in the store, or others", len(got), len(stored))
	}
	checkMetadata(t, img)
}

// linkObjects gives the store's folder the name it has in an image.
func linkObjects(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), ObjectsDir)
	if err := os.Symlink(dir, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// listObjects lists the folders and objects, whose bytes it checks.
func listObjects(t *testing.T, img fs.FS) []string {
	t.Helper()
	var names []string
	folders, err := fs.ReadDir(img, ObjectsDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if folder.Name() == "tmp" { // of the store
			continue
		}
		names = append(names, folder.Name())
		objects, err := fs.ReadDir(img, ObjectsDir+"/"+folder.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			name := folder.Name() + "/" + o.Name()
			data, err := fs.ReadFile(img, ObjectsDir+"/"+name)
			if err != nil {
				t.Fatal(err)
			}
			if got := store.Path(fsverity.Sum(data)); got != name {
				t.Errorf("object %s has the bytes of %s", name, got)
			}
			names = append(names, name)
		}
	}
	return names
}

func checkMetadata(t *testing.T, img fs.FS) {
	t.Helper()
	err := fs.WalkDir(img, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o644)
		if d.IsDir() {
			want = 0o755
		}
		if info.Mode().Perm() != want || !info.ModTime().Equal(testEpoch) {
			t.Errorf("%s: mode %v, time %v", name, info.Mode(), info.ModTime())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRootImageSuperblocks(t *testing.T) {
	s, _ := newStore(t)
	r, name := writeRoot(t, storedTree(t, s, sizes()), s)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	super, err := erofs.ReadSuperblock(f)
	if err != nil || super.UUID != testUUID || int64(super.Blocks) != r.DataBlocks || super.BuildTime != testEpoch.Unix() {
		t.Errorf("%+v, %v", super, err)
	}
	p, err := dmverity.Verify(t.Context(), f, r.DataBlocks, r.RootHash, nil)
	if err != nil || p.UUID != testUUID || len(p.Salt) != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	again, err := dmverity.ReadSuperblock(f, r.DataBlocks)
	if err != nil || again.DataBlocks != r.DataBlocks {
		t.Errorf("%+v, %v", again, err)
	}
	top := make([]byte, erofs.BlockSize)
	if _, err := f.ReadAt(top, (r.DataBlocks+1)*erofs.BlockSize); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(top); sum != r.RootHash {
		t.Errorf("the top hash block has the hash %x, want %x", sum, r.RootHash)
	}
}

func TestRootImageIsTheSameTwice(t *testing.T) {
	var images [2][]byte
	var results [2]RootImage
	for n := range images {
		s, _ := newStore(t)
		r, name := writeRoot(t, storedTree(t, s, sizes()), s)
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		images[n], results[n] = data, r
	}
	if !bytes.Equal(images[0], images[1]) || results[0] != results[1] {
		t.Error("two images differ")
	}
}

// A file of more than 4 GiB needs an extended inode; its layout alone is
// checked, as nobody wants to wait for its bytes.
func TestLayoutOfHugeObjects(t *testing.T) {
	tr := newTree(t, func(b builder) {
		b.put("/a", content(1<<32, 0))
		b.put("/b", content(1<<32-1, 0))
		b.put("/c", content(5<<30+4040, 0))
		b.put("/d", content(5<<30+4032, 0))
	})
	img, err := newImage(tr, plain())
	if err != nil {
		t.Fatal(err)
	}
	r := newRootLayout(img, tr, testEpoch)
	for i, want := range []struct {
		compact bool
		tail    int64
	}{{true, 0}, {false, 0}, {true, 0}, {false, 0}, {false, 4032}} {
		if b := r.bodies[i]; b.compact != want.compact || b.tail != want.tail {
			t.Errorf("body %d: compact %v, tail %d, want %+v", i, b.compact, b.tail, want)
		}
	}
}
