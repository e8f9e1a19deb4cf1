package localstack

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stall is how long an upload may stand still before it is cut off.
const stall = time.Minute

var errDigest = errors.New("the bytes do not have the digest that the request names")

// uploads takes blobs in one request, in two, or in chunks (OCI distribution
// specification 1.1, section "Pushing blobs"). Sessions end with the process.
type uploads struct {
	blobs *blobStore
	rand  io.Reader
	mu    sync.Mutex
	open  map[string]*upload
}

// upload is a session: a temporary file that grows.
type upload struct {
	mu   sync.Mutex // held during a request
	repo string
	file *os.File
	size int64
}

func (u *uploads) serve(w http.ResponseWriter, r *http.Request, rt route) {
	r.Body = &stallReader{ReadCloser: r.Body, rc: http.NewResponseController(w)}
	if rt.ref == "" {
		if r.Method != http.MethodPost {
			methodNotAllowed(w, "POST")
			return
		}
		u.begin(w, r, rt)
		return
	}
	s := u.session(rt)
	if s == nil {
		ociError(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "the upload is unknown, or ended with a restart: begin again")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodPatch:
		u.patch(w, r, rt, s)
	case http.MethodPut:
		u.finish(w, r, rt, s)
	case http.MethodGet:
		s.progress(w, rt, http.StatusNoContent)
	case http.MethodDelete:
		u.drop(rt.ref, s)
		w.WriteHeader(http.StatusNoContent)
	default:
		methodNotAllowed(w, "GET, PATCH, PUT, DELETE")
	}
}

// begin opens a session, or takes the whole blob, or finds that it has it.
func (u *uploads) begin(w http.ResponseWriter, r *http.Request, rt route) {
	if mount := r.URL.Query().Get("mount"); digestName.MatchString(mount) && u.blobs.has(mount) {
		created(w, rt.repo, mount)
		return
	}
	id := make([]byte, 16)
	_, err := io.ReadFull(u.rand, id)
	var f *os.File
	if err == nil {
		f, err = u.blobs.state.temp()
	}
	if err != nil {
		ociError(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	rt.ref = hex.EncodeToString(id)
	s := &upload{repo: rt.repo, file: f}
	u.mu.Lock()
	u.open[rt.ref] = s
	u.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Query().Get("digest") != "" {
		u.finish(w, r, rt, s)
		return
	}
	s.progress(w, rt, http.StatusAccepted)
}

func (u *uploads) patch(w http.ResponseWriter, r *http.Request, rt route, s *upload) {
	if from, _, ok := strings.Cut(r.Header.Get("Content-Range"), "-"); ok && from != strconv.FormatInt(s.size, 10) {
		s.progress(w, rt, http.StatusRequestedRangeNotSatisfiable)
		return
	}
	n, err := io.Copy(s.file, r.Body)
	s.size += n
	if err != nil {
		ociError(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", fmt.Sprintf("after %d bytes: %v", s.size, err))
		return
	}
	s.progress(w, rt, http.StatusAccepted)
}

func (u *uploads) finish(w http.ResponseWriter, r *http.Request, rt route, s *upload) {
	// Whatever goes wrong from here on, the client begins again.
	defer u.drop(rt.ref, s)
	digest := r.URL.Query().Get("digest")
	if !digestName.MatchString(digest) {
		ociError(w, http.StatusBadRequest, "DIGEST_INVALID", "the request names no sha256 digest")
		return
	}
	switch err := s.complete(r.Body, digest); {
	case errors.Is(err, errDigest):
		ociError(w, http.StatusBadRequest, "DIGEST_INVALID", err.Error())
		return
	case err != nil:
		ociError(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", err.Error())
		return
	}
	if err := u.blobs.state.commit(s.file, u.blobs.path(digest)); err != nil {
		ociError(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	created(w, rt.repo, digest)
}

// complete appends the rest and checks the whole; a blob sent in one piece is
// hashed on its way to the disk.
func (s *upload) complete(rest io.Reader, digest string) error {
	hash := sha256.New()
	if s.size > 0 {
		if _, err := io.Copy(hash, io.NewSectionReader(s.file, 0, s.size)); err != nil {
			return fmt.Errorf("reading the upload: %w", err)
		}
	}
	n, err := io.Copy(io.MultiWriter(hash, s.file), rest)
	s.size += n
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", s.size, err)
	}
	if "sha256:"+hex.EncodeToString(hash.Sum(nil)) != digest {
		return errDigest
	}
	return nil
}

// session returns the session a path names, nil if there is none.
func (u *uploads) session(rt route) *upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s := u.open[rt.ref]; s != nil && s.repo == rt.repo {
		return s
	}
	return nil
}

// drop ends a session; after a commit there is no temporary file any more.
func (u *uploads) drop(id string, s *upload) {
	u.mu.Lock()
	delete(u.open, id)
	u.mu.Unlock()
	s.file.Close()
	os.Remove(s.file.Name())
}

// close ends all sessions.
func (u *uploads) close() {
	u.mu.Lock()
	open := u.open
	u.open = map[string]*upload{}
	u.mu.Unlock()
	for id, s := range open {
		u.drop(id, s)
	}
}

func (s *upload) progress(w http.ResponseWriter, rt route, status int) {
	w.Header().Set("Location", "/v2/"+rt.repo+"/blobs/uploads/"+rt.ref)
	w.Header().Set("Docker-Upload-UUID", rt.ref)
	// Inclusive, so an empty upload looks like one of a byte: the
	// specification's own notation.
	w.Header().Set("Range", "0-"+strconv.FormatInt(max(s.size-1, 0), 10))
	w.WriteHeader(status)
}

func created(w http.ResponseWriter, repo, digest string) {
	w.Header().Set("Location", "/v2/"+repo+"/blobs/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

// stallReader moves the connection's deadline with every read.
type stallReader struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (s *stallReader) Read(p []byte) (int, error) {
	// Writers without deadlines are those of tests.
	_ = s.rc.SetReadDeadline(time.Now().Add(stall))
	return s.ReadCloser.Read(p)
}
