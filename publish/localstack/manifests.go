package localstack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifestLimit is what the distribution specification asks registries to take.
const manifestLimit = 4 << 20

// manifestStore keeps manifests, tags and referrers as files:
//
//	registry/repos/NAME/_manifests/HEX        media type, newline, the bytes as pushed
//	registry/repos/NAME/_tags/TAG             digest
//	registry/repos/NAME/_referrers/HEX/HEX    empty; subject / referrer
//
// Components of names never begin with "_". The referrer's mark is written
// before the manifest and removed after it; marks without a manifest are
// ignored.
type manifestStore struct {
	state stateDir
	blobs *blobStore
	mu    sync.RWMutex
}

// stored is a manifest as pushed.
type stored struct {
	mediaType string
	digest    string
	raw       []byte
}

// document holds the fields of image manifests and indexes that the registry
// looks at.
type document struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Blobs        []ocispec.Descriptor `json:"blobs"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

// needs lists the blobs that must be there before the manifest.
func (d *document) needs() []ocispec.Descriptor {
	all := append(append([]ocispec.Descriptor{}, d.Layers...), d.Blobs...)
	if d.Config != nil {
		all = append(all, *d.Config)
	}
	return all
}

// artifactType follows the specification's rule for referrers lists.
func (d *document) artifactType() string {
	if d.ArtifactType == "" && d.Config != nil {
		return d.Config.MediaType
	}
	return d.ArtifactType
}

// parseManifest reads a manifest pushed with that content type.
func parseManifest(contentType string, raw []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if d.MediaType != "" && d.MediaType != contentType {
		return nil, fmt.Errorf("the manifest is of type %q, the request says %q", d.MediaType, contentType)
	}
	all := append(d.needs(), d.Manifests...)
	if d.Subject != nil {
		all = append(all, *d.Subject)
	}
	for _, desc := range all {
		if !digestName.MatchString(string(desc.Digest)) {
			return nil, fmt.Errorf("%q is not a sha256 digest", desc.Digest)
		}
	}
	return &d, nil
}

func (m *manifestStore) repo(name string, elem ...string) string {
	return m.state.path(append([]string{"registry", "repos", name}, elem...)...)
}

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

func (m *manifestStore) manifestPath(repo, digest string) string {
	return m.repo(repo, "_manifests", hexOf(digest))
}

// load returns the manifest that a tag or digest names.
func (m *manifestStore) load(repo, ref string) (stored, error) {
	if !digestName.MatchString(ref) {
		digest, err := readSmall(m.repo(repo, "_tags", ref))
		if err != nil {
			return stored{}, err
		}
		ref = string(digest)
		if !digestName.MatchString(ref) {
			return stored{}, fmt.Errorf("reading tag: %q is not a digest", ref)
		}
	}
	data, err := os.ReadFile(m.manifestPath(repo, ref))
	if err != nil {
		return stored{}, err
	}
	mediaType, raw, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return stored{}, fmt.Errorf("reading manifest %q: no media type", ref)
	}
	return stored{mediaType: string(mediaType), digest: ref, raw: raw}, nil
}

func (m *manifestStore) serve(w http.ResponseWriter, r *http.Request, rt route) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		m.serveGet(w, r, rt)
	case http.MethodPut:
		m.servePut(w, r, rt)
	case http.MethodDelete:
		m.serveDelete(w, rt)
	default:
		methodNotAllowed(w, "GET, HEAD, PUT, DELETE")
	}
}

func (m *manifestStore) serveGet(w http.ResponseWriter, r *http.Request, rt route) {
	m.mu.RLock()
	s, err := m.load(rt.repo, rt.ref)
	m.mu.RUnlock()
	if err != nil {
		storeError(w, err)
		return
	}
	w.Header().Set("Content-Type", s.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(s.raw)))
	w.Header().Set("Docker-Content-Digest", s.digest)
	if r.Method == http.MethodGet {
		w.Write(s.raw)
	}
}

func (m *manifestStore) servePut(w http.ResponseWriter, r *http.Request, rt route) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, manifestLimit))
	if err != nil {
		ociError(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", err.Error())
		return
	}
	contentType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		ociError(w, http.StatusBadRequest, "MANIFEST_INVALID", "the request names no media type")
		return
	}
	d, err := parseManifest(contentType, raw)
	if err != nil {
		ociError(w, http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
		return
	}
	sum := sha256.Sum256(raw)
	s := stored{mediaType: contentType, digest: "sha256:" + hex.EncodeToString(sum[:]), raw: raw}
	if digestName.MatchString(rt.ref) && rt.ref != s.digest {
		ociError(w, http.StatusBadRequest, "DIGEST_INVALID", "the manifest's digest is "+s.digest)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if missing := m.missing(rt.repo, d); missing != "" {
		ociError(w, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", missing+" is unknown to this repository")
		return
	}
	if err := m.put(rt, s, d); err != nil {
		storeError(w, err)
		return
	}
	if d.Subject != nil {
		w.Header().Set("OCI-Subject", string(d.Subject.Digest))
	}
	w.Header().Set("Location", "/v2/"+rt.repo+"/manifests/"+s.digest)
	w.Header().Set("Docker-Content-Digest", s.digest)
	w.WriteHeader(http.StatusCreated)
}

// missing returns the first blob or manifest that d refers to and that is not
// there. The subject may come later, or never.
func (m *manifestStore) missing(repo string, d *document) string {
	for _, b := range d.needs() {
		if len(b.URLs) == 0 && !m.blobs.has(string(b.Digest)) {
			return string(b.Digest)
		}
	}
	for _, c := range d.Manifests {
		if _, err := os.Stat(m.manifestPath(repo, string(c.Digest))); err != nil {
			return string(c.Digest)
		}
	}
	return ""
}

func (m *manifestStore) put(rt route, s stored, d *document) error {
	if d.Subject != nil {
		mark := m.repo(rt.repo, "_referrers", hexOf(string(d.Subject.Digest)), hexOf(s.digest))
		if err := m.state.write(mark, nil); err != nil {
			return err
		}
	}
	data := append([]byte(s.mediaType+"\n"), s.raw...)
	if err := m.state.write(m.manifestPath(rt.repo, s.digest), data); err != nil {
		return err
	}
	if digestName.MatchString(rt.ref) {
		return nil
	}
	return m.state.write(m.repo(rt.repo, "_tags", rt.ref), []byte(s.digest))
}

// serveDelete removes a tag, or a manifest with the tags that name it.
func (m *manifestStore) serveDelete(w http.ResponseWriter, rt route) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.load(rt.repo, rt.ref)
	if err == nil && rt.ref != s.digest {
		err = os.Remove(m.repo(rt.repo, "_tags", rt.ref))
	} else if err == nil {
		err = m.remove(rt.repo, s)
	}
	if err != nil {
		storeError(w, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (m *manifestStore) remove(repo string, s stored) error {
	tags, err := m.tags(repo)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		digest, err := readSmall(m.repo(repo, "_tags", tag))
		if err != nil {
			return err
		}
		if string(digest) != s.digest {
			continue
		}
		if err := os.Remove(m.repo(repo, "_tags", tag)); err != nil {
			return err
		}
	}
	if err := os.Remove(m.manifestPath(repo, s.digest)); err != nil {
		return err
	}
	var d document
	if err := json.Unmarshal(s.raw, &d); err != nil || d.Subject == nil {
		return err
	}
	return os.Remove(m.repo(repo, "_referrers", hexOf(string(d.Subject.Digest)), hexOf(s.digest)))
}

func storeError(w http.ResponseWriter, err error) {
	if errors.Is(err, os.ErrNotExist) {
		ociError(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown to registry")
		return
	}
	ociError(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
}
