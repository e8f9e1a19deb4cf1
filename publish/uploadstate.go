package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// uploadsFolder is the folder in a build's output that holds a small file for
// each upload that is under way; it goes away with the last.
const uploadsFolder = ".uploads"

// maxUploadState bounds such a file, in bytes.
const maxUploadState = 64 << 10

// uploadState is how far an upload has come.
type uploadState struct {
	Location string `json:"location"` // of the session; may hold a secret
	Offset   int64  `json:"offset"`   // bytes that the registry has
	// Least is the smallest piece that the registry takes, in bytes.
	Least int64 `json:"least,omitempty"`
}

// stateFile keeps the state of one upload; nil keeps nothing.
type stateFile struct{ path string }

// newStateFile names the state of a blob's upload to a repository.
func newStateFile(dir, repository, hexDigest string) *stateFile {
	if dir == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(repository + "@" + hexDigest))
	return &stateFile{filepath.Join(dir, uploadsFolder, hex.EncodeToString(sum[:])+".json")}
}

// read returns what is kept. Nothing, or nonsense, is the zero state: then the
// upload is begun anew.
func (s *stateFile) read() uploadState {
	if s == nil {
		return uploadState{}
	}
	raw, err := readBounded(s.path, maxUploadState)
	if err != nil {
		return uploadState{}
	}
	return parseUploadState(raw)
}

func parseUploadState(raw []byte) uploadState {
	var u uploadState
	if json.Unmarshal(raw, &u) != nil || u.Offset < 0 || u.Least < 0 || u.Least > largestLeast {
		return uploadState{}
	}
	return u
}

// write keeps a state, readable by this user only.
func (s *stateFile) write(u uploadState) error {
	if s == nil {
		return nil
	}
	raw, err := json.Marshal(u)
	for try := 0; err == nil && try < 10; try++ {
		if err = os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
			break
		}
		// Another upload that ends may have removed the empty folder again.
		if err = writeFile(s.path, raw); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("keeping the state of an upload: %w", err)
	}
	return nil
}

// remove forgets the state, and the folder when it was the last.
func (s *stateFile) remove() error {
	if s == nil {
		return nil
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the state of an upload: %w", err)
	}
	// It is not empty when other uploads are under way.
	_ = os.Remove(filepath.Dir(s.path))
	return nil
}
