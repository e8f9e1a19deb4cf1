package localstack

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// blobStore keeps blobs as files named by their SHA-256. They belong to the
// whole registry, not to a repository.
type blobStore struct{ state stateDir }

func (b *blobStore) path(digest string) string {
	return b.state.path("registry", "blobs", strings.Replace(digest, ":", "/", 1))
}

func (b *blobStore) has(digest string) bool {
	info, err := os.Stat(b.path(digest))
	return err == nil && info.Mode().IsRegular()
}

func (b *blobStore) serve(w http.ResponseWriter, r *http.Request, digest string) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		b.serveGet(w, r, digest)
	case http.MethodDelete:
		if err := os.Remove(b.path(digest)); err != nil {
			ociError(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
			return
		}
		w.WriteHeader(http.StatusAccepted)
	default:
		methodNotAllowed(w, "GET, HEAD, DELETE")
	}
}

// serveGet answers with ranges, which boot loaders ask for.
func (b *blobStore) serveGet(w http.ResponseWriter, r *http.Request, digest string) {
	f, err := os.Open(b.path(digest))
	if err != nil {
		ociError(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Etag", `"`+digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// sweep removes the blobs that keep does not name and returns their number.
func (b *blobStore) sweep(keep map[string]bool) (int, error) {
	names, err := fileNames(b.state.path("registry", "blobs", "sha256"))
	if err != nil {
		return 0, fmt.Errorf("listing blobs: %w", err)
	}
	swept := 0
	for _, name := range names {
		digest := "sha256:" + name
		if keep[digest] {
			continue
		}
		if err := os.Remove(b.path(digest)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return swept, fmt.Errorf("removing blob %q: %w", digest, err)
		}
		swept++
	}
	return swept, nil
}
