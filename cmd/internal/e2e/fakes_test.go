package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/source/apt/apttest"
)

// appSize is the size of the file that the package app brings, in bytes. It is
// noise, which doesn't shrink in a .deb.
const appSize = 4 << 20

// newRepo returns a signed archive with all packages that a plan needs.
func newRepo() (repo *apttest.Repo, appPath string) {
	repo = apttest.New()
	repo.Architectures = []string{"amd64"}
	noise := make([]byte, appSize)
	x := uint64(88172645463325252) // xorshift64 (Marsaglia, 2003)
	for i := range noise {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		noise[i] = byte(x)
	}
	appPath = repo.Add(apttest.Deb{Name: "app", Files: append(apttest.Bootable(), apttest.File("./usr/bin/app", string(noise))), Compression: "none"})
	for _, name := range []string{"linux-image-test", "systemd-boot-efi"} {
		repo.Add(apttest.Deb{Name: name, Files: []apttest.Member{apttest.File("./usr/share/doc/"+name, name)}})
	}
	repo.Publish()
	return repo, appPath
}

// mirror serves an archive on loopback. A request for the path stall gets the
// first half of the answer; then reached is closed and the rest never comes.
type mirror struct {
	repo    *apttest.Repo
	stall   string
	reached chan struct{}
}

func (m mirror) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	resp, err := m.repo.RoundTrip(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer resp.Body.Close()
	w.Header().Set("Content-Length", fmt.Sprint(resp.ContentLength))
	w.WriteHeader(resp.StatusCode)
	if m.stall == "" || !strings.HasSuffix(req.URL.Path, m.stall) {
		io.Copy(w, resp.Body)
		return
	}
	io.CopyN(w, resp.Body, resp.ContentLength/2)
	http.NewResponseController(w).Flush()
	close(m.reached)
	<-req.Context().Done()
}

// serve starts a mirror and returns its base URL.
func serve(t *testing.T, m mirror) string {
	t.Helper()
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	return server.URL + "/archive"
}

// platform is a definition around a fake archive.
type platform struct{ suite, include, mirror, keyring, limits, more string }

// newPlatform returns the definition of a platform that builds from the archive
// as far as its packages go.
func newPlatform(t *testing.T, repo *apttest.Repo, mirror string) platform {
	t.Helper()
	return platform{suite: repo.Codename, include: "app", mirror: mirror, keyring: keyringOf(t, apttest.Keyring(repo.Key, false)), limits: "{}"}
}

func keyringOf(t *testing.T, keys []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.gpg")
	if err := os.WriteFile(path, keys, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// write writes the definition and returns its path.
func (p platform) write(t *testing.T) string {
	t.Helper()
	text := fmt.Sprintf(`name: broken
architectures: [amd64]
root:
  packages: {suite: %s, include: [%s], mirror: %q, keyring: %q}
  limits: %s
kernel: {package: linux-image-test}
%s`, p.suite, p.include, p.mirror, p.keyring, p.limits, p.more)
	path := filepath.Join(t.TempDir(), "platform.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// flip returns data with one bit changed in the middle.
func flip(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)/2] ^= 1
	return data
}

// notFound answers requests for paths below prefix.
func notFound(path, prefix string) *http.Response {
	if strings.HasPrefix(path, prefix) {
		return apttest.Response(http.StatusNotFound, nil)
	}
	return nil
}
