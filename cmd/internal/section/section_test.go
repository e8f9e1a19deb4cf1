package section

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	s := Section{File: filepath.Join(t.TempDir(), "f"), Begin: "<b>\n", End: "<e>\n"}
	if err := os.WriteFile(s.File, []byte("one\n<b>\ntwo\n<e>\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := s.Read(); err != nil || text != "two\n" {
		t.Fatalf("read %q, %v", text, err)
	}
	if err := s.Replace("2\n2\n"); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(s.File); err != nil || string(data) != "one\n<b>\n2\n2\n<e>\nthree\n" {
		t.Errorf("the file is %q, %v", data, err)
	}
}

func TestNoSection(t *testing.T) {
	s := Section{File: filepath.Join(t.TempDir(), "f"), Begin: "<b>", End: "<e>"}
	for _, text := range []string{"", "<b>", "<e><b>"} {
		if err := os.WriteFile(s.File, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(); err == nil {
			t.Errorf("%q has a section", text)
		}
		if err := s.Replace("x"); err == nil {
			t.Errorf("%q took a section", text)
		}
	}
}
