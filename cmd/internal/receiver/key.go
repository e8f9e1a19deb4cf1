package receiver

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/callback/ingest"
)

// ReadKey reads the key that encrypts secrets in the database, 32 bytes in hex.
// A missing file is made with a new key, readable for its owner only.
func ReadKey(path string, rand io.Reader) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path, rand)
	}
	if err != nil {
		return nil, fault.Inputf("reading the database key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != ingest.KeySize {
		return nil, fault.Inputf("reading the database key %q: it is not %d bytes in hex", path, ingest.KeySize)
	}
	return key, nil
}

func makeKey(path string, rand io.Reader) ([]byte, error) {
	key := make([]byte, ingest.KeySize)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, fmt.Errorf("making the database key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fault.Inputf("making the database key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fault.Inputf("making the database key: %w", err)
	}
	if _, err := fmt.Fprintf(f, "%x\n", key); err != nil {
		f.Close()
		return nil, fmt.Errorf("writing the database key: %w", err)
	}
	return key, f.Close()
}
