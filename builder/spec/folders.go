package spec

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// CheckKeyrings makes sure that the keyrings that the definition names are there.
func (f *File) CheckKeyrings() error {
	p := f.PackageArchive()
	if p == nil {
		return nil
	}
	keyrings := map[string]string{f.ArchiveField() + ".keyring": p.Keyring}
	for i, r := range p.Repositories {
		keyrings[fmt.Sprintf("%s.repositories[%d].keyring", f.ArchiveField(), i)] = r.Keyring
	}
	for _, field := range slices.Sorted(maps.Keys(keyrings)) {
		if keyrings[field] == "" {
			continue
		}
		if _, err := os.Stat(f.Resolve(keyrings[field])); err != nil {
			return f.Bad(field, "%v", err).WithFix("put the archive's keys there, or remove the field to use the host's")
		}
	}
	return nil
}
