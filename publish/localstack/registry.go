package localstack

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// ociRegistry is a registry on disk, with the referrers API. It is small on
// purpose: no accounts, one blob store for all repositories, sha256 only.
// go-containerregistry's registry does not fit: its manifests and chunks live in
// memory, its list of referrers lacks types, annotations, filter and the
// OCI-Subject header (which makes clients overlook referrers), it refuses
// open-ended ranges and it writes to the standard logger.
type ociRegistry struct {
	manifests *manifestStore
	blobs     *blobStore
	uploads   *uploads
}

// openRegistry opens the registry in the state directory and removes blobs that
// no manifest mentions: they come from pushes that never ended and from
// deleted manifests.
func openRegistry(state stateDir, rand io.Reader, logTo func(string, ...any)) (*ociRegistry, error) {
	blobs := &blobStore{state: state}
	manifests := &manifestStore{state: state, blobs: blobs}
	if err := manifests.collect(logTo); err != nil {
		return nil, err
	}
	return &ociRegistry{
		manifests: manifests,
		blobs:     blobs,
		uploads:   &uploads{blobs: blobs, rand: rand, open: map[string]*upload{}},
	}, nil
}

// route is what a path of the distribution specification asks for.
type route struct {
	kind string // "base", "catalog", "manifests", "tags", "referrers", "blobs" or "uploads"
	repo string
	ref  string // tag, digest or upload
}

// The grammar of the OCI distribution specification 1.1, section "Pulling
// manifests". It also keeps names inside the state directory: no component is
// "..", and none begins with "_".
var (
	repoName   = regexp.MustCompile(`\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z`)
	tagName    = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\z`)
	digestName = regexp.MustCompile(`\Asha256:[a-f0-9]{64}\z`)
)

// parseRoute understands a path under /v2/.
func parseRoute(path string) (route, bool) {
	switch path {
	case "/v2", "/v2/":
		return route{kind: "base"}, true
	case "/v2/_catalog":
		return route{kind: "catalog"}, true
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	elems := strings.Split(rest, "/")
	n := len(elems)
	if !ok || n < 3 {
		return route{}, false
	}
	r := route{kind: elems[n-2], repo: strings.Join(elems[:n-2], "/"), ref: elems[n-1]}
	if n >= 4 && elems[n-3] == "blobs" && r.kind == "uploads" {
		r.repo = strings.Join(elems[:n-3], "/")
	}
	// "POST …/blobs/uploads" without the last slash.
	if r.kind == "blobs" && r.ref == "uploads" {
		r.kind, r.ref = "uploads", ""
	}
	if len(r.repo) > 255 || !repoName.MatchString(r.repo) {
		return route{}, false
	}
	switch r.kind {
	case "manifests":
		return r, tagName.MatchString(r.ref) || digestName.MatchString(r.ref)
	case "blobs", "referrers":
		return r, digestName.MatchString(r.ref)
	case "tags":
		return r, r.ref == "list"
	}
	return r, r.kind == "uploads"
}

func (g *ociRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	rt, ok := parseRoute(r.URL.Path)
	if !ok {
		ociError(w, http.StatusNotFound, "NAME_INVALID", "the path is not one of the distribution specification")
		return
	}
	switch rt.kind {
	case "manifests":
		g.manifests.serve(w, r, rt)
	case "uploads":
		g.uploads.serve(w, r, rt)
	case "blobs":
		g.blobs.serve(w, r, rt.ref)
	default:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			methodNotAllowed(w, "GET, HEAD")
			return
		}
		g.serveList(w, r, rt)
	}
}

func (g *ociRegistry) serveList(w http.ResponseWriter, r *http.Request, rt route) {
	switch rt.kind {
	case "tags":
		g.manifests.serveTags(w, r, rt)
	case "referrers":
		g.manifests.serveReferrers(w, r, rt)
	case "catalog":
		g.manifests.serveCatalog(w, r)
	default:
		writeJSON(w, http.StatusOK, struct{}{})
	}
}

// ociError answers as the distribution specification's "Error Codes" say.
func ociError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}

func methodNotAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	ociError(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the method is not supported here")
}

// nextPage returns the Link header of a list that goes on after last.
func nextPage(r *http.Request, last string) string {
	q := r.URL.Query()
	q.Set("last", last)
	return "<" + (&url.URL{Path: r.URL.Path, RawQuery: q.Encode()}).String() + `>; rel="next"`
}
