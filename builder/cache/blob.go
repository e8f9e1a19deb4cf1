package cache

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

func (c *Cache) blobFile(digest string) string { return blobFile(c.dir, digest) }

func blobFile(dir, digest string) string { return filepath.Join(dir, blobsDir, digest[:2], digest[2:]) }

// Blob returns the path of a blob.
func (c *Cache) Blob(digest string) string { return c.blobFile(digest) }

// digestOf returns the digest of the blob at a path, "" for other paths.
func (c *Cache) digestOf(path string) string {
	rest, base := filepath.Split(path)
	digest := filepath.Base(rest) + base
	if isDigest(digest) && c.blobFile(digest) == path {
		return digest
	}
	return ""
}

// Keep makes a blob of a finished file in the scratch folder, and returns the
// blob's path. The file is gone after that.
func (c *Cache) Keep(path, digest string) (string, error) {
	name := c.blobFile(digest)
	// A blob that is there already may be damaged, so it is replaced.
	if err := place(path, name); err != nil {
		return "", fmt.Errorf("caching a file: %w", err)
	}
	return name, nil
}

// Verify makes sure that a blob has that size and its digest; one that hasn't is
// deleted, and a DamageError.
func (c *Cache) Verify(digest string, size int64) error {
	n, err := c.verify(digest, size)
	if err == nil && n != size {
		err = damaged("the cached file %s has %d bytes instead of %d", digest, n, size)
	}
	if IsDamage(err) {
		return errors.Join(err, remove(c.blobFile(digest)))
	}
	return err
}

// verify compares a blob of at least that size with its digest.
func (c *Cache) verify(digest string, size int64) (int64, error) {
	n, got, err := hashFile(c.blobFile(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, damaged("the cached file %s is missing", digest)
	}
	if err != nil {
		return 0, err
	}
	if got != digest || n < size {
		return n, damaged("the cached file %s is damaged: it has %d bytes with the SHA-256 digest %s", digest, n, got)
	}
	return n, nil
}

const copyBuffer = 256 << 10

// hashFile returns a file's size and SHA-256 digest.
func hashFile(name string) (size int64, digest string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	sum := sha256.New()
	size, err = io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{f}, make([]byte, copyBuffer))
	return size, hexOf(sum.Sum(nil)), err
}

// KeepBytes makes a blob of bytes and returns its digest.
func (c *Cache) KeepBytes(data []byte) (string, error) {
	f, err := os.CreateTemp(c.scratch, "blob-")
	if err != nil {
		return "", fmt.Errorf("caching a file: %w", err)
	}
	sum := sha256.Sum256(data)
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		_, err = c.Keep(f.Name(), hexOf(sum[:]))
	}
	if err != nil {
		return "", errors.Join(err, remove(f.Name()))
	}
	return hexOf(sum[:]), nil
}

// ReadBytes returns the bytes of a blob, of at most limit.
func (c *Cache) ReadBytes(digest string, limit int64) ([]byte, error) {
	f, err := os.Open(c.blobFile(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, damaged("the cached file %s is missing", digest)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hexOf(sum[:]) != digest {
		return nil, errors.Join(damaged("the cached file %s is damaged", digest), remove(c.blobFile(digest)))
	}
	return data, nil
}
