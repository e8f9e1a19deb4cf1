package localstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// tags returns the repository's tags, sorted; none for an unknown repository.
func (m *manifestStore) tags(repo string) ([]string, error) {
	return fileNames(m.repo(repo, "_tags"))
}

func (m *manifestStore) serveTags(w http.ResponseWriter, r *http.Request, rt route) {
	m.mu.RLock()
	_, known := os.Stat(m.repo(rt.repo, "_manifests"))
	tags, err := m.tags(rt.repo)
	m.mu.RUnlock()
	if err != nil {
		storeError(w, err)
		return
	}
	if known != nil {
		ociError(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
		return
	}
	if last := r.URL.Query().Get("last"); last != "" {
		at, found := slices.BinarySearch(tags, last)
		if found {
			at++
		}
		tags = tags[at:]
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("n")); err == nil && n >= 0 && n < len(tags) {
		if tags = tags[:n]; n > 0 {
			w.Header().Set("Link", nextPage(r, tags[n-1]))
		}
	}
	if tags == nil {
		tags = []string{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"name": rt.repo, "tags": tags})
}

func (m *manifestStore) serveReferrers(w http.ResponseWriter, r *http.Request, rt route) {
	m.mu.RLock()
	found, err := m.referrers(rt.repo, rt.ref)
	m.mu.RUnlock()
	if err != nil {
		storeError(w, err)
		return
	}
	if want := r.URL.Query().Get("artifactType"); want != "" {
		found = slices.DeleteFunc(found, func(d ocispec.Descriptor) bool { return d.ArtifactType != want })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	body, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: found,
	})
	if err != nil {
		storeError(w, err)
		return
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	w.Write(body)
}

// referrers lists what refers to a digest, in the order of their digests. An
// unknown subject has none.
func (m *manifestStore) referrers(repo, subject string) ([]ocispec.Descriptor, error) {
	names, err := fileNames(m.repo(repo, "_referrers", hexOf(subject)))
	if err != nil {
		return nil, err
	}
	found := []ocispec.Descriptor{}
	for _, name := range names {
		s, err := m.load(repo, "sha256:"+name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		d, err := parseManifest(s.mediaType, s.raw)
		if err != nil {
			return nil, fmt.Errorf("manifest %q: %w", s.digest, err)
		}
		found = append(found, ocispec.Descriptor{
			MediaType: s.mediaType, Digest: digest.Digest(s.digest), Size: int64(len(s.raw)),
			ArtifactType: d.artifactType(), Annotations: d.Annotations,
		})
	}
	return found, nil
}

func (m *manifestStore) serveCatalog(w http.ResponseWriter, _ *http.Request) {
	m.mu.RLock()
	repos, err := m.repos()
	m.mu.RUnlock()
	if err != nil {
		storeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"repositories": repos})
}

// repos returns the names of all repositories, sorted.
func (m *manifestStore) repos() ([]string, error) {
	root := m.state.path("registry", "repos")
	repos := []string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return fs.SkipAll
		}
		if err != nil {
			return err
		}
		switch e.Name() {
		case "_manifests":
			repo, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			repos = append(repos, filepath.ToSlash(repo))
			return fs.SkipDir
		case "_tags", "_referrers":
			return fs.SkipDir
		}
		return nil
	})
	slices.Sort(repos)
	return repos, err
}

// collect removes the blobs that no manifest mentions.
func (m *manifestStore) collect(logTo func(string, ...any)) error {
	repos, err := m.repos()
	if err != nil {
		return fmt.Errorf("listing repositories: %w", err)
	}
	keep := map[string]bool{}
	for _, repo := range repos {
		names, err := fileNames(m.repo(repo, "_manifests"))
		if err != nil {
			return fmt.Errorf("listing manifests of %q: %w", repo, err)
		}
		for _, name := range names {
			s, err := m.load(repo, "sha256:"+name)
			if err != nil {
				return fmt.Errorf("reading a manifest of %q: %w", repo, err)
			}
			d, err := parseManifest(s.mediaType, s.raw)
			if err != nil {
				return fmt.Errorf("manifest %q of %q: %w", s.digest, repo, err)
			}
			for _, b := range d.needs() {
				keep[string(b.Digest)] = true
			}
		}
	}
	swept, err := m.blobs.sweep(keep)
	if swept > 0 {
		logTo("registry: removed %d blobs that no manifest mentions", swept)
	}
	return err
}

// fileNames lists a directory in order; a missing one is empty.
func fileNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}
