package builder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/flock"
	"github.com/powernode/bootsmith/builder/source/program"
)

// workPrefix begins the names of work folders. They lie in the output folder, so
// that what is finished is renamed to its place.
const workPrefix = ".work-"

// workDir is a build's work folder. It is locked (flock(2)) while the build runs:
// that tells it from one that a killed build left.
type workDir struct {
	path string
	lock *os.File // nil: the file system doesn't lock folders
}

// makeWorkDir makes the output folder, if need be, and a work folder in it.
func makeWorkDir(output string) (*workDir, error) {
	err := os.MkdirAll(output, 0o755)
	if err != nil {
		return nil, fault.Inputf("making the output folder: %w", err).WithFix("give another folder with --output-dir")
	}
	dir, err := newWorkDir(output)
	if err != nil {
		return nil, fault.Inputf("making a work folder: %w", err).WithFix("give another folder with --output-dir")
	}
	return dir, nil
}

// newWorkDir makes a work folder in output, and deletes those of killed builds.
func newWorkDir(output string) (*workDir, error) {
	// Who holds this lock sees no folder that is made and not yet locked.
	all, err := lockDir(output, syscall.LOCK_EX)
	if err != nil {
		path, err := os.MkdirTemp(output, workPrefix)
		return &workDir{path: path}, err
	}
	defer all.Close()
	if err := deleteLeftovers(output); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(output, workPrefix)
	if err != nil {
		return nil, err
	}
	w := &workDir{path: path}
	if w.lock, err = lockDir(path, syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return w, nil
}

// remove deletes the folder.
func (w *workDir) remove() error {
	err := program.RemoveAll(w.path)
	if w.lock != nil {
		err = errors.Join(err, w.lock.Close())
	}
	return err
}

// deleteLeftovers deletes the work folders that no build uses, except those that
// belong to others.
func deleteLeftovers(output string) error {
	entries, err := os.ReadDir(output)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), workPrefix) {
			continue
		}
		path := filepath.Join(output, e.Name())
		lock, err := lockDir(path, syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil {
			continue
		}
		err = errors.Join(program.RemoveAll(path), lock.Close())
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// lockDir locks a folder until it is closed, or the process ends. NFS, for one,
// can't lock folders.
func lockDir(path string, how int) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := flock.Lock(f, how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
