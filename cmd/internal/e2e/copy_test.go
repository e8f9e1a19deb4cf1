package e2e_test

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// definitionDir is the platform that whole builds are made of.
const definitionDir = "../../../fixtures/platforms/minimal"

// copyDefinition copies the platform's folder, files in the order that the seed
// gives, and takes the mask's bits off modes as a checkout under another umask
// does.
func copyDefinition(dst string, seed uint64, mask fs.FileMode) error {
	if err := os.Mkdir(dst, 0o755); err != nil {
		return err
	}
	paths, err := listFiles(definitionDir)
	if err != nil {
		return err
	}
	order := rand.New(rand.NewPCG(seed, 0))
	order.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	for _, path := range paths {
		if err := copyEntry(filepath.Join(dst, path), filepath.Join(definitionDir, path), mask); err != nil {
			return err
		}
	}
	return nil
}

// copyEntry copies a folder (without what is in it), a symlink or a file.
// Folders that it needs are made.
func copyEntry(dst, src string, mask fs.FileMode) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.MkdirAll(dst, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		target, err := os.Readlink(src)
		if err != nil {
			return err
		}
		return os.Symlink(target, dst)
	}
	return copyFile(dst, src, info.Mode().Perm()&^mask)
}

func copyFile(dst, src string, mode fs.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close())
}

// copyCache makes a cache folder of its own, with hard links where they go. A
// cold one holds the downloads and nothing that was made of them; a warm one what
// was unpacked as well, but no stage's results, which are large.
func copyCache(dst, src string, cold bool) error {
	paths, err := listFiles(src)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	for _, path := range paths {
		top, _, _ := strings.Cut(path, "/")
		if cold && top != "release" && top != "sha256" {
			continue
		}
		// The lock is opened for writing: that of the cache's owner would be his.
		if slices.Contains([]string{"blobs", "stages", "tmp", "lock"}, top) {
			continue
		}
		if err := linkEntry(filepath.Join(dst, path), filepath.Join(src, path)); err != nil {
			return err
		}
	}
	return nil
}

// linkEntry links a file, or copies it to another file system.
func linkEntry(dst, src string) error {
	info, err := os.Lstat(src)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a temporary file of somebody else
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.MkdirAll(dst, 0o755)
	}
	if err = os.Link(src, dst); errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EPERM) {
		return copyFile(dst, src, 0o644)
	}
	return err
}
