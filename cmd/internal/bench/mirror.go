package bench

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// Mirror serves a package archive from a folder, into which it fetches what is
// missing: all contenders get the same packages, and none waits for a network
// that others use.
type Mirror struct {
	Dir    string
	Source string // the archive's base URL
	mu     sync.Mutex
}

// ServeHTTP implements http.Handler.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := path.Clean("/" + r.URL.Path)
	file := filepath.Join(m.Dir, filepath.FromSlash(name))
	status, err := m.provide(r, name, file)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
	case status != http.StatusOK:
		http.Error(w, http.StatusText(status), status)
	default:
		http.ServeFile(w, r, file)
	}
}

// provide makes sure that the file is there, and returns the source's status.
func (m *Mirror) provide(r *http.Request, name, file string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return http.StatusOK, err
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, m.Source+name, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, nil
	}
	return res.StatusCode, keep(res.Body, res.ContentLength, file)
}

// keep writes a file that appears whole.
func keep(r io.Reader, size int64, file string) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	n, err := io.Copy(f, r)
	if err == nil && size >= 0 && n != size {
		err = fmt.Errorf("got %d of %d bytes", n, size)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
