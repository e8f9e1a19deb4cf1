package apttest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Repo is an archive with one suite. Set its fields, Add packages, Publish;
// then it answers requests as an http.RoundTripper.
type Repo struct {
	Suite, Codename string
	Architectures   []string
	Component       string
	Date            time.Time
	ValidUntil      time.Time // zero: no such field
	Key             *openpgp.Entity
	// Extra are further lines of the release.
	Extra []string
	// ByHash offers the indices by digest, and only so.
	ByHash bool
	// MapIndex, when set, changes a Packages file after it was listed.
	MapIndex func([]byte) []byte
	// Fail, when set, may answer a request in the archive's place.
	Fail func(path string) *http.Response

	mu       sync.Mutex
	packages map[string]*strings.Builder
	files    map[string][]byte
	requests []string
}

// New returns an empty archive of suite "stable", code name "test", with a key
// of its own.
func New() *Repo {
	return &Repo{
		Suite: "stable", Codename: "test", Architectures: []string{"amd64", "arm64"}, Component: "main",
		Date: Epoch(), Key: NewKey(), packages: map[string]*strings.Builder{}, files: map[string][]byte{},
	}
}

// NewKey returns a signing key.
func NewKey() *openpgp.Entity {
	key, err := openpgp.NewEntity("Test Archive", "", "test@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return Epoch().Add(-time.Hour) },
	})
	must(err)
	return key
}

// Keyring returns the public key as a keyring file's bytes.
func Keyring(key *openpgp.Entity, armored bool) []byte {
	var b bytes.Buffer
	if !armored {
		must(key.Serialize(&b))
		return b.Bytes()
	}
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	must(err)
	must(key.Serialize(w))
	must(w.Close())
	return b.Bytes()
}

// Add adds a package to the indices of its architecture ("all": of every one),
// and its file to the pool. It returns the file's path.
func (r *Repo) Add(d Deb) string {
	data := d.Bytes()
	d = d.defaults()
	path := fmt.Sprintf("pool/main/%s/%s_%s_%s.deb", d.Name, d.Name, strings.ReplaceAll(d.Version, ":", "%3a"), d.Arch)
	r.SetFile(path, data)
	for _, a := range r.Architectures {
		if d.Arch != a && d.Arch != "all" {
			continue
		}
		if r.packages[a] == nil {
			r.packages[a] = &strings.Builder{}
		}
		fmt.Fprintf(r.packages[a], "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", d.Control(), path, len(data), sha256.Sum256(data))
	}
	return path
}

// SetFile sets what the archive serves at a path.
func (r *Repo) SetFile(path string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[path] = data
}

// File returns what the archive serves at a path.
func (r *Repo) File(path string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.files[path])
}

// Publish writes indices and release.
func (r *Repo) Publish() {
	base := "dists/" + r.Codename + "/"
	var list strings.Builder
	for _, a := range r.Architectures {
		text := []byte{}
		if b := r.packages[a]; b != nil {
			text = []byte(b.String())
		}
		dir := r.Component + "/binary-" + a
		for _, ext := range []string{"", ".xz"} {
			data := compress(ext, text)
			sum := sha256.Sum256(data)
			fmt.Fprintf(&list, " %x %d %s/Packages%s\n", sum, len(data), dir, ext)
			if r.MapIndex != nil {
				data = r.MapIndex(data)
			}
			if r.ByHash {
				r.SetFile(fmt.Sprintf("%s%s/by-hash/SHA256/%x", base, dir, sum), data)
			} else if ext != "" {
				r.SetFile(base+dir+"/Packages"+ext, data)
			}
		}
	}
	r.SetFile(base+"InRelease", Sign(r.Key, []byte(r.release(list.String()))))
}

func (r *Repo) release(list string) string {
	const layout = "Mon, 02 Jan 2006 15:04:05 UTC"
	lines := []string{
		"Origin: Test", "Suite: " + r.Suite, "Codename: " + r.Codename, "Date: " + r.Date.Format(layout),
		"Architectures: " + strings.Join(r.Architectures, " "), "Components: " + r.Component,
	}
	if !r.ValidUntil.IsZero() {
		lines = append(lines, "Valid-Until: "+r.ValidUntil.Format(layout))
	}
	if r.ByHash {
		lines = append(lines, "Acquire-By-Hash: yes")
	}
	lines = append(lines, r.Extra...)
	return strings.Join(lines, "\n") + "\nSHA256:\n" + list
}

// Sign returns a clear-signed message.
func Sign(key *openpgp.Entity, text []byte) []byte {
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, key.PrivateKey, &packet.Config{Time: Epoch})
	must(err)
	_, err = w.Write(text)
	must(err)
	must(w.Close())
	b.WriteByte('\n')
	return b.Bytes()
}

// Requests returns the paths that were asked for since the last call, sorted.
func (r *Repo) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.requests
	r.requests = nil
	slices.Sort(all)
	return all
}

// RoundTrip implements http.RoundTripper: a server at any host, whose archive
// is the folder /archive.
func (r *Repo) RoundTrip(req *http.Request) (*http.Response, error) {
	path := strings.TrimPrefix(req.URL.Path, "/archive/")
	r.mu.Lock()
	r.requests = append(r.requests, path)
	data, ok := r.files[path]
	r.mu.Unlock()
	if r.Fail != nil {
		if resp := r.Fail(path); resp != nil {
			return resp, nil
		}
	}
	if !ok {
		return Response(http.StatusNotFound, nil), nil
	}
	return Response(http.StatusOK, data), nil
}

// Response returns an answer.
func Response(status int, body []byte) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
}
