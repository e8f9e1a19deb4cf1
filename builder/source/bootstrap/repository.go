package bootstrap

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/deb"
)

// repositoryDir is the local repository's name in the work folder.
const repositoryDir = "repository"

// writeRepository makes a flat repository (sources.list(5)) of the packages: the
// .deb files, Packages, and Release. It isn't signed: all bytes were compared
// with the plan's digests while they were copied here.
func writeRepository(ctx context.Context, dir string, archive Archive, packages []apt.Package) error {
	if err := makeShared(dir); err != nil {
		return err
	}
	var index strings.Builder
	for _, p := range packages {
		if err := addPackage(ctx, dir, archive, p, &index); err != nil {
			return fmt.Errorf("package %q: %w", p.Name, err)
		}
	}
	if err := writeShared(filepath.Join(dir, "Packages"), strings.NewReader(index.String()), 0o644); err != nil {
		return err
	}
	// The date is long ago, as apt refuses releases of the future.
	release := fmt.Sprintf("Suite: local\nDate: Thu, 01 Jan 1970 00:00:00 UTC\nSHA256:\n %x %d Packages\n", sha256.Sum256([]byte(index.String())), index.Len())
	return writeShared(filepath.Join(dir, "Release"), strings.NewReader(release), 0o644)
}

// addPackage copies a package's file and adds its stanza to the index: its
// control file's, with where the file is.
func addPackage(ctx context.Context, dir string, archive Archive, p apt.Package, index *strings.Builder) error {
	f, err := archive.Open(ctx, p)
	if err != nil {
		return err
	}
	defer f.Close()
	file := p.SHA256 + ".deb"
	if err := writeShared(filepath.Join(dir, file), f, 0o644); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	d, err := deb.ReadControl(ctx, f)
	if err != nil {
		return err
	}
	for _, field := range d.Control {
		switch strings.ToLower(field.Name) {
		case "filename", "size", "md5sum", "sha1", "sha256", "sha512":
			continue
		}
		separator := " "
		if strings.HasPrefix(field.Value, "\n") {
			separator = ""
		}
		fmt.Fprintf(index, "%s:%s%s\n", field.Name, separator, field.Value)
	}
	fmt.Fprintf(index, "Filename: ./%s\nSize: %d\nSHA256: %s\n\n", file, p.Size, p.SHA256)
	return nil
}

// makeShared makes a folder that all users can read, whatever the umask.
func makeShared(dir string) error {
	return errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755))
}

// writeShared writes a file that all users can read.
func writeShared(path string, r io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Chmod(mode), f.Close())
}
