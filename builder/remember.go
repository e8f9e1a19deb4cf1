package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/powernode/bootsmith/builder/cache"
)

// maxRemembered bounds a cached result, in bytes.
const maxRemembered = 256 << 20

// rememberedFile is the file of an entry that holds a remembered result.
const rememberedFile = "result"

// remember returns the cached result for a key that says all that it depends on,
// or computes and caches it.
func (c Config) remember(key string, compute func() ([]byte, error)) ([]byte, error) {
	if c.Cache == nil {
		return compute()
	}
	sum := sha256.Sum256([]byte(key))
	e := &cache.Entry{Key: hex.EncodeToString(sum[:]), Stage: "part of a root"}
	if data, ok, err := c.recall(e.Key); ok || err != nil {
		return data, err
	}
	data, err := compute()
	if err != nil {
		return nil, err
	}
	digest, err := c.Cache.KeepBytes(data)
	if err != nil {
		return nil, err
	}
	e.Files = []cache.File{{Name: rememberedFile, Size: int64(len(data)), SHA256: digest}}
	return data, c.Cache.Put(e)
}

// recall returns a cached result. A damaged one counts as missing.
func (c Config) recall(key string) (data []byte, ok bool, err error) {
	e, err := c.Cache.Get(key)
	var f cache.File
	if err == nil {
		f, err = e.File(rememberedFile)
	}
	if err == nil {
		data, err = c.Cache.ReadBytes(f.SHA256, maxRemembered)
	}
	if cache.IsDamage(err) || errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading a cached result: %w", err)
	}
	return data, true, nil
}
