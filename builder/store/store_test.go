package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

func sample(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files returns the names of all regular files below the store's folder.
func files(t *testing.T, s *Store) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(s.dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(s.dir, name)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func mustPut(t *testing.T, s *Store, data []byte) tree.Content {
	t.Helper()
	c, size, err := s.Put(bytes.NewReader(data))
	if err != nil || size != int64(len(data)) {
		t.Fatalf("Put of %d bytes: %d, %v", len(data), size, err)
	}
	return c
}

func read(s *Store, c tree.Content) ([]byte, error) {
	r, err := s.Open(c)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestPutAndOpen(t *testing.T) {
	for _, n := range []int{0, 1, 64, 65, 4096, 4097, bufferSize - 1, bufferSize, bufferSize + 1, 3*bufferSize + 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s, data := newStore(t), sample(n, 1)
			c := mustPut(t, s, data)
			if c.SHA256 != sha256.Sum256(data) || c.Verity != fsverity.Sum(data) {
				t.Error("wrong digests")
			}
			inline := n <= tree.InlineMax
			if (c.Inline != nil) != inline || inline && !bytes.Equal(c.Inline, data) {
				t.Errorf("inline content is %x", c.Inline)
			}
			names := files(t, s)
			if inline && len(names) != 0 || !inline && (len(names) != 1 || names[0] != Path(c.Verity)) {
				t.Errorf("files in the store: %q", names)
			}
			if got, err := read(s, c); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read back %d bytes, %v", len(got), err)
			}
			if !s.Has(c, int64(n)) {
				t.Error("Has doesn't find it")
			}
			if !inline && s.Has(c, int64(n)+1) {
				t.Error("Has finds it with another size")
			}
		})
	}
}

func TestObjectMode(t *testing.T) {
	s := newStore(t)
	c := mustPut(t, s, sample(100, 1))
	info, err := os.Stat(s.path(c.Verity))
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestPutSameTwice(t *testing.T) {
	for _, n := range []int{1000, 2 * bufferSize} {
		s, data := newStore(t), sample(n, 1)
		c := mustPut(t, s, data)
		before, _ := os.Stat(s.path(c.Verity))
		if again := mustPut(t, s, data); again.Verity != c.Verity {
			t.Error("another digest")
		}
		after, _ := os.Stat(s.path(c.Verity))
		if !os.SameFile(before, after) || len(files(t, s)) != 1 {
			t.Errorf("%d bytes: the object was written again", n)
		}
	}
}

func TestPutReplacesACutObject(t *testing.T) {
	s, data := newStore(t), sample(5000, 1)
	c := mustPut(t, s, data)
	if err := os.Truncate(s.path(c.Verity), 0); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, data)
	if got, err := read(s, c); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
}

func TestOpenOfADamagedObject(t *testing.T) {
	s, data := newStore(t), sample(5000, 1)
	c := mustPut(t, s, data)
	if err := os.WriteFile(s.path(c.Verity), sample(5000, 2), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if fault.ClassOf(err) != fault.Build || len(got) != 5000 {
		t.Fatalf("reading gave %d bytes and %v", len(got), err)
	}
	if _, again := r.Read(make([]byte, 1)); again == nil || again == io.EOF {
		t.Errorf("reading on gave %v", again)
	}
	if s.Has(c, 5000) {
		t.Error("the damaged object is still there")
	}
	mustPut(t, s, data)
	if _, err := read(s, c); err != nil {
		t.Errorf("after storing it again: %v", err)
	}
}

func TestOpenOfDamagedInlineContent(t *testing.T) {
	s := newStore(t)
	c := mustPut(t, s, []byte("hello"))
	c.Inline[0] = 'J'
	if _, err := read(s, c); fault.ClassOf(err) != fault.Build {
		t.Errorf("got %v", err)
	}
}

func TestOpenOfAMissingObject(t *testing.T) {
	s := newStore(t)
	_, err := s.Open(tree.Content{Verity: tree.Digest{1}})
	if !errors.Is(err, fs.ErrNotExist) || fault.ClassOf(err) != fault.Build {
		t.Errorf("got %v", err)
	}
}

func TestEmptyContentNeedsNoInlineSlice(t *testing.T) {
	s := newStore(t)
	c := mustPut(t, s, nil)
	c.Inline = nil
	if got, err := read(s, c); err != nil || len(got) != 0 {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestPutOfAFailingReader(t *testing.T) {
	for _, n := range []int{0, 10, 1000, 2 * bufferSize} {
		for _, cause := range []error{errors.New("broken"), io.ErrUnexpectedEOF} {
			s := newStore(t)
			_, _, err := s.Put(io.MultiReader(bytes.NewReader(sample(n, 1)), iotest.ErrReader(cause)))
			if !errors.Is(err, cause) {
				t.Errorf("after %d bytes: got %v, want %v", n, err, cause)
			}
			if left := files(t, s); len(left) != 0 {
				t.Errorf("after %d bytes: %q is left", n, left)
			}
		}
	}
}

func TestPutOfSmallReads(t *testing.T) {
	s, data := newStore(t), sample(9999, 1)
	c, size, err := s.Put(iotest.OneByteReader(bytes.NewReader(data)))
	if err != nil || size != 9999 || c.SHA256 != sha256.Sum256(data) {
		t.Errorf("%d, %v", size, err)
	}
}

func TestOpenWithoutAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("a file was taken as the store's folder")
	}
}

func TestPutWithoutTheFolder(t *testing.T) {
	for _, n := range []int{1000, 2 * bufferSize} {
		s := newStore(t)
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Put(bytes.NewReader(sample(n, 1))); err == nil {
			t.Errorf("%d bytes were stored nowhere", n)
		}
	}
}

func TestPutWhereAFileIsInTheWay(t *testing.T) {
	for _, n := range []int{1000, 2 * bufferSize} {
		s, data := newStore(t), sample(n, 1)
		verity := fsverity.Sum(data)
		if err := os.WriteFile(filepath.Dir(s.path(verity)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Put(bytes.NewReader(data)); err == nil {
			t.Error("no error")
		}
		if left := files(t, s); len(left) != 1 {
			t.Errorf("%q is left", left)
		}
	}
}

func TestConcurrentPutOfTheSame(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { putMany(t, s.dir) })
	}
	wg.Wait()
	checkMany(t, s)
}

// many is the number of contents in the tests of concurrent use.
const many = 300

func manyData(i int) []byte { return sample(100+i*37, byte(i)) }

func putMany(t *testing.T, dir string) {
	s, err := Open(dir)
	if err != nil {
		t.Error(err)
		return
	}
	for i := range many {
		if _, _, err := s.Put(bytes.NewReader(manyData(i))); err != nil {
			t.Error(err)
		}
	}
}

func checkMany(t *testing.T, s *Store) {
	t.Helper()
	if n := len(files(t, s)); n != many {
		t.Errorf("%d files in the store, want %d", n, many)
	}
	for i := range many {
		data := manyData(i)
		if got, err := read(s, tree.Content{Verity: fsverity.Sum(data)}); err != nil || !bytes.Equal(got, data) {
			t.Errorf("content %d: %v", i, err)
		}
	}
}

// TestProcesses runs this test binary several times at once on one folder.
func TestProcesses(t *testing.T) {
	const env = "BOOTSMITH_TEST_STORE"
	if dir := os.Getenv(env); dir != "" {
		putMany(t, dir)
		return
	}
	s := newStore(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestProcesses$")
			cmd.Env = append(os.Environ(), env+"="+s.dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	checkMany(t, s)
}

func TestPath(t *testing.T) {
	want := "01/0200000000000000000000000000000000000000000000000000000000000f"
	if got := Path(tree.Digest{0: 1, 1: 2, 31: 15}); got != want {
		t.Errorf("got %s", got)
	}
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{2 << 10, 20 << 10, 64 << 20} {
		data := sample(size, 1)
		b.Run(fmt.Sprintf("new/%dKiB", size>>10), func(b *testing.B) {
			s := newStore(b)
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				copy(data, fmt.Sprint(i, "."))
				if _, _, err := s.Put(bytes.NewReader(data)); err != nil {
					b.Fatal(err)
				}
				if size > 1<<20 {
					b.StopTimer()
					os.Remove(s.path(fsverity.Sum(data)))
					b.StartTimer()
				}
			}
		})
		b.Run(fmt.Sprintf("known/%dKiB", size>>10), func(b *testing.B) {
			s := newStore(b)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, _, err := s.Put(bytes.NewReader(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
