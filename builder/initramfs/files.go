package initramfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxName bounds names and targets, in bytes: the kernel's PATH_MAX with the
// final NUL (init/initramfs.c).
const maxName = 4095

// File is a regular file or a symbolic link in an initramfs.
type File struct {
	// Path is slash-separated and relative: "etc/ssl/ca.pem".
	Path string
	// Mode holds permission bits, 0o777 at most; a link's are not used.
	Mode uint32
	// Target makes it a symbolic link.
	Target string
	// Size counts the bytes that Open yields.
	Size int64
	// Open opens the contents of a regular file.
	Open func() (io.ReadCloser, error)

	dir bool
}

// fileSet collects entries by path.
type fileSet struct {
	files map[string]File
}

func newFileSet() *fileSet { return &fileSet{files: map[string]File{}} }

func (s *fileSet) add(f File) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("adding %q: %w", f.Path, err)
	}
	if _, known := s.files[f.Path]; known {
		return fmt.Errorf("adding %q: there is such an entry already", f.Path)
	}
	s.files[f.Path] = f
	return nil
}

func (f File) check() error {
	switch {
	case f.Path == "." || !fs.ValidPath(f.Path) || strings.ContainsRune(f.Path, 0):
		return errors.New("the path is not a clean, relative one")
	case f.Path == "TRAILER!!!":
		return errors.New("this name ends the archive")
	case len(f.Path) > maxName || len(f.Target) > maxName:
		return fmt.Errorf("names are limited to %d bytes", maxName)
	case f.Mode > 0o777:
		return fmt.Errorf("mode %#o has more than permission bits", f.Mode)
	case strings.ContainsRune(f.Target, 0):
		return errors.New("the target holds a NUL byte")
	case f.Target == "" && f.Open == nil:
		return errors.New("it has neither contents nor a target")
	}
	return checkSize(f.Size)
}

func (s *fileSet) addDir(name string) {
	s.files[name] = File{Path: name, Mode: 0o755, dir: true}
}

// sorted returns the entries in bytewise order of their paths, which puts
// directories before what is in them, as the kernel needs it.
func (s *fileSet) sorted() ([]File, error) {
	var names []string
	for name := range s.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			parent, known := s.files[dir]
			if !known {
				s.addDir(dir)
			} else if !parent.dir {
				return nil, fmt.Errorf("adding %q: %q is not a directory", name, dir)
			}
		}
	}
	var files []File
	for _, f := range s.files {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}
