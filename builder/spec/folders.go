package spec

import (
	"os"
	"path/filepath"
)

// Resolve returns a path of the definition as one that can be opened.
func (f *File) Resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(f.Dir, path)
}

func (f *File) validateFolders() error {
	for _, x := range []struct{ field, path string }{{"files", f.Files}, {"esp", f.ESP}, {"initramfs.files", f.Initramfs.Files}} {
		if x.path == "" {
			continue
		}
		info, err := os.Stat(f.Resolve(x.path))
		if err != nil {
			return f.Bad(x.field, "folder %q can't be read: %v", x.path, err).WithFix("make it, or remove the field")
		}
		if !info.IsDir() {
			return f.Bad(x.field, "%q is not a folder", x.path)
		}
	}
	return nil
}
