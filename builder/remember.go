package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxRemembered bounds a cached result, in bytes.
const maxRemembered = 256 << 20

// remember returns the cached result for a key, or computes and caches it. A
// file holds the SHA-256 of the result before the result: one that a power cut
// damaged is computed again.
func (c Config) remember(key string, compute func() ([]byte, error)) ([]byte, error) {
	if c.CacheDir == "" {
		return compute()
	}
	sum := sha256.Sum256([]byte(key))
	name := filepath.Join(c.CacheDir, hex.EncodeToString(sum[:]))
	if data, ok := readRemembered(name); ok {
		return data, nil
	}
	data, err := compute()
	if err != nil {
		return nil, err
	}
	if err := writeRemembered(c.CacheDir, name, data); err != nil {
		return nil, fmt.Errorf("caching a result: %w", err)
	}
	return data, nil
}

func readRemembered(name string) ([]byte, bool) {
	info, err := os.Stat(name)
	if err != nil || info.Size() < sha256.Size || info.Size() > maxRemembered {
		return nil, false
	}
	raw, err := os.ReadFile(name)
	if err != nil || len(raw) < sha256.Size {
		return nil, false
	}
	data := raw[sha256.Size:]
	return data, sha256.Sum256(data) == [sha256.Size]byte(raw)
}

func writeRemembered(dir, name string, data []byte) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer func() {
		if rerr := os.Remove(f.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	sum := sha256.Sum256(data)
	_, err = f.Write(append(sum[:], data...))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
