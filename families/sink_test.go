package families

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func create(t *testing.T, s *Sink) *File {
	t.Helper()
	f, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSinkHashesHoles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when", "needed")
	sink := NewSink(dir)
	f := create(t, sink)
	if _, err := f.Write([]byte("begin")); err != nil {
		t.Fatal(err)
	}
	const hole = 3<<20 + 1
	if err := f.Skip(hole); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("middle")); err != nil {
		t.Fatal(err)
	}
	if err := f.Skip(1000); err != nil { // a hole at the end
		t.Fatal(err)
	}
	a, err := f.Commit("sub/folder/name", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	want := append(append([]byte("begin"), make([]byte, hole)...), "middle"...)
	want = append(want, make([]byte, 1000)...)
	got, err := os.ReadFile(filepath.Join(dir, "sub", "folder", "name"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	sum := sha256.Sum256(want)
	if a != (Artifact{"sub/folder/name", "text/plain", int64(len(want)), hex.EncodeToString(sum[:])}) {
		t.Errorf("%+v", a)
	}
	if info, _ := os.Stat(filepath.Join(dir, a.Name)); info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestSinkDeletesWhatIsNotCommitted(t *testing.T) {
	dir := t.TempDir()
	sink := NewSink(dir)
	if _, err := create(t, sink).Commit("kept", ""); err != nil {
		t.Fatal(err)
	}
	create(t, sink)
	create(t, sink)
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "kept" {
		t.Errorf("%v, %v", left, err)
	}
}

func TestSinkErrors(t *testing.T) {
	sink := NewSink(t.TempDir())
	defer sink.Close()
	for _, name := range []string{"", "../up", "/root", "a/../../b"} {
		if _, err := create(t, sink).Commit(name, ""); err == nil || !strings.Contains(err.Error(), "leaves the folder") {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, err := create(t, sink).Commit("twice", ""); err != nil {
		t.Error(err)
	}
	if _, err := create(t, sink).Commit("twice", ""); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("the same name again: %v", err)
	}
	if err := create(t, sink).Skip(-1); err == nil {
		t.Error("a negative hole is accepted")
	}
	sink.SetMain("missing")
	if _, err := sink.Main(); err == nil || !strings.Contains(err.Error(), `"missing"`) {
		t.Errorf("main file: %v", err)
	}
}

func TestSinkConcurrently(t *testing.T) {
	sink := NewSink(t.TempDir())
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			f, err := sink.Create()
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				if _, err := f.Commit(strings.Repeat("x", i+1), ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
	if n := len(sink.Artifacts()); n != 10 {
		t.Errorf("%d artifacts", n)
	}
}

func TestCopyBlobNoticesChanges(t *testing.T) {
	dir := t.TempDir()
	b := writeBlob(t, dir, "part", 100_000)
	sink := NewSink(t.TempDir())
	defer sink.Close()
	if err := sink.copyBlob(t.Context(), b, "copy", "text/plain"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(b.Path, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sink.copyBlob(t.Context(), b, "again", "text/plain"); err == nil || !strings.Contains(err.Error(), "it has 7 bytes") {
		t.Errorf("a changed part: %v", err)
	}
}

// BenchmarkSink writes a file in pieces of 128 KiB.
func BenchmarkSink(b *testing.B) {
	s := NewSink(b.TempDir())
	defer s.Close()
	piece := make([]byte, 128<<10)
	f, err := s.Create()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%1000 == 999 { // don't fill the disk
			if _, err := f.f.Seek(0, io.SeekStart); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := f.Write(piece); err != nil {
			b.Fatal(err)
		}
	}
}
