package localstack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/flock"
)

// stateDir is the directory that holds everything that outlives the process.
type stateDir string

// openState makes the directory, takes its lock and clears what a killed
// predecessor left half-written. The returned file holds the lock until closed.
func openState(dir string) (stateDir, *os.File, error) {
	if dir == "" {
		return "", nil, fault.Inputf("starting the local stack: no state directory given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, fmt.Errorf("finding state directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("creating state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("opening the lock of %q: %w", dir, err)
	}
	if err := flock.Lock(lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return "", nil, fault.Inputf("locking %q: %w", dir, err).
			WithFix("stop the stack that runs on this directory, or choose another one")
	}
	s := stateDir(dir)
	if err := s.clean(); err != nil {
		lock.Close()
		return "", nil, err
	}
	return s, lock, nil
}

func (s stateDir) clean() error {
	if err := os.RemoveAll(s.path("tmp")); err != nil {
		return fmt.Errorf("clearing temporary files: %w", err)
	}
	for _, d := range []string{"tmp", "keys"} {
		if err := os.MkdirAll(s.path(d), 0o700); err != nil {
			return fmt.Errorf("creating state directory: %w", err)
		}
	}
	return nil
}

func (s stateDir) path(elem ...string) string {
	return filepath.Join(append([]string{string(s)}, elem...)...)
}

// temp makes a file in the directory's own file system; commit renames it.
func (s stateDir) temp() (*os.File, error) {
	return os.CreateTemp(s.path("tmp"), "")
}

// commit closes a temporary file and gives it its name, which may be in a
// directory that does not exist yet.
func (s stateDir) commit(f *os.File, name string) error {
	err := f.Close()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(name), 0o700)
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// write replaces a file as a whole, mode 0600.
func (s stateDir) write(name string, data []byte) error {
	f, err := s.temp()
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return fmt.Errorf("writing %q: %w", name, err)
	}
	if err := s.commit(f, name); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}

// loadOrCreate returns a small file's bytes; the first time, it makes them.
func (s stateDir) loadOrCreate(name string, create func() ([]byte, error)) ([]byte, error) {
	data, err := readSmall(name)
	if !errors.Is(err, os.ErrNotExist) {
		return data, err
	}
	if data, err = create(); err != nil {
		return nil, err
	}
	return data, s.write(name, data)
}

// readSmall reads a state file of at most 1 MiB.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const limit = 1 << 20
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	if len(data) > limit {
		return nil, fmt.Errorf("reading %q: larger than %d bytes", name, limit)
	}
	return data, nil
}
