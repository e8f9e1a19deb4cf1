package bench

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTrash(t *testing.T) {
	dir := t.TempDir()
	trash := &Trash{Dir: filepath.Join(dir, "trash")}
	name := filepath.Join(dir, "out", "file")
	for range 2 {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := trash.Put(filepath.Dir(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := trash.Put(filepath.Dir(name)); err != nil {
		t.Errorf("what isn't there: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(trash.Dir, "*", "file"))
	if err != nil || len(left) != 2 {
		t.Fatalf("the trash has %q, %v", left, err)
	}
	if info, err := os.Stat(left[0]); err != nil || info.Size() != 0 {
		t.Errorf("the content is still there: %v", err)
	}
	if err := trash.Empty(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
}
