package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// compareFolders returns an error that names the first difference between two
// folders: a file that only one has, or a file and the offset of a byte.
func compareFolders(a, b string) error {
	inA, err := listFiles(a)
	if err != nil {
		return err
	}
	inB, err := listFiles(b)
	if err != nil {
		return err
	}
	for _, path := range inA {
		if !slices.Contains(inB, path) {
			return fmt.Errorf("%s is in %s only", path, a)
		}
	}
	for _, path := range inB {
		if !slices.Contains(inA, path) {
			return fmt.Errorf("%s is in %s only", path, b)
		}
	}
	for _, path := range inA {
		if err := compareFiles(filepath.Join(a, path), filepath.Join(b, path)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func compareFiles(a, b string) error {
	if info, err := os.Stat(a); err != nil || info.IsDir() {
		return err
	}
	x, err := os.Open(a)
	if err != nil {
		return err
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		return err
	}
	defer y.Close()
	return compareStreams(bufio.NewReaderSize(x, 1<<16), bufio.NewReaderSize(y, 1<<16))
}

func compareStreams(a, b *bufio.Reader) error {
	for offset := int64(0); ; offset++ {
		x, errA := a.ReadByte()
		y, errB := b.ReadByte()
		switch {
		case errA == io.EOF && errB == io.EOF:
			return nil
		case errA == io.EOF || errB == io.EOF:
			return fmt.Errorf("one ends at offset %d, the other goes on", offset)
		case errA != nil || errB != nil:
			return errors.Join(errA, errB)
		case x != y:
			return fmt.Errorf("differs at offset %d: %#02x, %#02x", offset, x, y)
		}
	}
}

func TestCompareNamesTheDifference(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	write := func(dir, name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "x", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := func(words string) {
		t.Helper()
		err := compareFolders(a, b)
		if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("compared: %v; want %q", err, words)
		}
	}
	write(a, "f", "0123456789")
	want("x is in")
	write(b, "f", "0123456789")
	want("")
	write(b, "f", "01234x6789")
	want("x/f: differs at offset 5: 0x35, 0x78")
	write(b, "f", "0123")
	want("x/f: one ends at offset 4")
	write(b, "g", "")
	want("x/g is in")
}
