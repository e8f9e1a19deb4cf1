package localstack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/powernode/bootsmith/publish/localstack"
)

const (
	imageType = "application/vnd.powernode.disk-image.v1"
	sbomType  = "application/vnd.example.sbom"
)

func open(t *testing.T, s *localstack.Stack) *remote.Repository {
	t.Helper()
	repo, err := remote.NewRepository(s.Registry + "/acme/minimal")
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	return repo
}

func pack(t *testing.T, repo oras.Target, artifactType string, payload string, subject *ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	layer, err := oras.PushBytes(t.Context(), repo, "application/octet-stream", []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	desc, err := oras.PackManifest(t.Context(), repo, oras.PackManifestVersion1_1, artifactType, oras.PackManifestOptions{
		Subject: subject, Layers: []ocispec.Descriptor{layer},
		ManifestAnnotations: map[string]string{ocispec.AnnotationCreated: "2026-01-01T00:00:00Z", "note": payload},
	})
	if err != nil {
		t.Fatal(err)
	}
	return desc
}

func referrers(t *testing.T, repo *remote.Repository, subject ocispec.Descriptor, artifactType string) []string {
	t.Helper()
	var notes []string
	err := repo.Referrers(t.Context(), subject, artifactType, func(list []ocispec.Descriptor) error {
		for _, d := range list {
			if artifactType != "" && d.ArtifactType != artifactType {
				t.Errorf("asked for %q, got %q", artifactType, d.ArtifactType)
			}
			notes = append(notes, d.Annotations["note"])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return notes
}

func TestRegistryKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	s, err := localstack.Start(t.Context(), localstack.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	repo := open(t, s)
	image := pack(t, repo, imageType, "image", nil)
	pack(t, repo, sbomType, "sbom", &image)
	pack(t, repo, "application/vnd.example.other", "other", &image)
	if err := repo.Tag(t.Context(), image, "v1"); err != nil {
		t.Fatal(err)
	}
	// One that no manifest mentions goes away at the next start.
	stray, err := oras.PushBytes(t.Context(), repo, "application/octet-stream", []byte("stray"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = start(t, localstack.Config{Dir: dir})
	repo = open(t, s)
	if got := referrers(t, repo, image, ""); len(got) != 2 {
		t.Errorf("referrers are %q", got)
	}
	if got := referrers(t, repo, image, sbomType); len(got) != 1 || got[0] != "sbom" {
		t.Errorf("filtered referrers are %q", got)
	}
	if state := repo.SetReferrersCapability(true); state != nil {
		t.Errorf("oras-go does not believe in the referrers API: %v", state)
	}
	local := memory.New()
	got, err := oras.ExtendedCopy(t.Context(), repo, "v1", local, "v1", oras.DefaultExtendedCopyOptions)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != image.Digest {
		t.Errorf("v1 is %s, not %s", got.Digest, image.Digest)
	}
	if above, err := local.Predecessors(t.Context(), image); err != nil || len(above) != 2 {
		t.Errorf("the copy has %d referrers, %v", len(above), err)
	}
	if ok, err := repo.Blobs().Exists(t.Context(), stray); err != nil || ok {
		t.Errorf("the stray blob is there: %v, %v", ok, err)
	}
}

func TestRegistryDelete(t *testing.T) {
	s := start(t, localstack.Config{})
	repo := open(t, s)
	image := pack(t, repo, imageType, "image", nil)
	sbom := pack(t, repo, sbomType, "sbom", &image)
	for _, tag := range []string{"v1", "v2"} {
		if err := repo.Tag(t.Context(), image, tag); err != nil {
			t.Fatal(err)
		}
	}
	if got := tags(t, repo); got != "v1 v2" {
		t.Errorf("tags are %q", got)
	}
	if status := call(t, http.MethodDelete, s.URL+"/v2/acme/minimal/manifests/v2", "", nil); status != http.StatusAccepted {
		t.Errorf("deleting a tag: %d", status)
	}
	if got := tags(t, repo); got != "v1" {
		t.Errorf("tags are %q", got)
	}
	if err := repo.Delete(t.Context(), sbom); err != nil {
		t.Fatal(err)
	}
	if got := referrers(t, repo, image, ""); len(got) != 0 {
		t.Errorf("referrers are %q", got)
	}
	if err := repo.Delete(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	if got := tags(t, repo); got != "" {
		t.Errorf("tags are %q", got)
	}
	if _, err := repo.Resolve(t.Context(), "v1"); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("resolving a deleted manifest: %v", err)
	}
	if err := repo.Delete(t.Context(), image); err == nil {
		t.Error("deleted twice")
	}
}

func TestRegistryRanges(t *testing.T) {
	s := start(t, localstack.Config{})
	repo := open(t, s)
	blob, err := oras.PushBytes(t.Context(), repo, "application/octet-stream", []byte("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{"bytes=2-4": "234", "bytes=7-": "789", "bytes=-1": "9"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v2/acme/minimal/blobs/"+blob.Digest.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusPartialContent || string(got) != want {
			t.Errorf("%s: %d %q %v", header, resp.StatusCode, got, err)
		}
	}
}

func TestRegistryMountAndChunks(t *testing.T) {
	s := start(t, localstack.Config{})
	repo := open(t, s)
	blob, err := oras.PushBytes(t.Context(), repo, "application/octet-stream", []byte("mounted"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := remote.NewRepository(s.Registry + "/acme/other")
	if err != nil {
		t.Fatal(err)
	}
	other.PlainHTTP = true
	err = other.Mount(t.Context(), blob, "acme/minimal", func() (io.ReadCloser, error) {
		return nil, errors.New("the blob had to be sent again")
	})
	if err != nil {
		t.Error(err)
	}
	session := beginUpload(t, s.URL)
	sum := digest.FromString("two chunks")
	for _, step := range []struct {
		method, path, contentRange, body string
		want                             int
		have                             string
	}{
		{"PATCH", "", "0-3", "two ", 202, "0-3"},
		{"PATCH", "", "0-3", "two ", 416, "0-3"},
		{"GET", "", "", "", 204, "0-3"},
		{"PATCH", "", "", "chu", 202, "0-6"},
		{"PUT", "?digest=" + sum.String(), "", "nks", 201, ""},
		{"GET", "", "", "", 404, ""},
	} {
		resp := send(t, step.method, s.URL+session+step.path, map[string]string{"Content-Range": step.contentRange}, []byte(step.body))
		if resp.StatusCode != step.want || resp.Header.Get("Range") != step.have {
			t.Errorf("%s %s: status %d, range %q", step.method, step.contentRange, resp.StatusCode, resp.Header.Get("Range"))
		}
	}
	session = beginUpload(t, s.URL)
	for i, want := range []int{http.StatusNoContent, http.StatusNotFound} {
		if status := call(t, http.MethodDelete, s.URL+session, "", nil); status != want {
			t.Errorf("cancelling, attempt %d: %d", i, status)
		}
	}
	if _, err := repo.Blobs().Resolve(t.Context(), sum.String()); err != nil {
		t.Error(err)
	}
}

func TestRegistryRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := start(t, localstack.Config{Dir: dir})
	repo := open(t, s)
	absent := digest.FromString("absent")
	manifest := func(format string, args ...any) []byte { return fmt.Appendf(nil, format, args...) }
	const image, index = ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex
	for name, c := range map[string]struct {
		method, path, contentType string
		body                      []byte
		want                      int
	}{
		"missing layer":   {"PUT", "a/manifests/t", image, manifest(`{"layers":[{"digest":"%s"}]}`, absent), 404},
		"missing child":   {"PUT", "a/manifests/t", index, manifest(`{"manifests":[{"digest":"%s"}]}`, absent), 404},
		"not JSON":        {"PUT", "a/manifests/t", image, []byte("{"), 400},
		"no media type":   {"PUT", "a/manifests/t", "", []byte("{}"), 400},
		"two media types": {"PUT", "a/manifests/t", image, manifest(`{"mediaType":"%s"}`, index), 400},
		"wrong digest":    {"PUT", "a/manifests/" + absent.String(), image, []byte("{}"), 400},
		"huge manifest":   {"PUT", "a/manifests/t", image, bytes.Repeat([]byte(" "), 5<<20), 413},
		"bad subject":     {"PUT", "a/manifests/t", image, []byte(`{"subject":{"digest":"sha256:../../x"}}`), 400},
		"climbing":        {"PUT", "a/%2e%2e/%2e%2e/manifests/t", image, []byte("{}"), 404},
		"our own folder":  {"PUT", "a/_tags/manifests/t", image, []byte("{}"), 404},
		"upper case":      {"PUT", "A/manifests/t", image, []byte("{}"), 404},
		"bad tag":         {"PUT", "a/manifests/.t", image, []byte("{}"), 404},
		"sha512":          {"GET", "a/blobs/sha512:" + strings.Repeat("0", 128), "", nil, 404},
		"unknown blob":    {"GET", "a/blobs/" + absent.String(), "", nil, 404},
		"unknown repo":    {"GET", "a/tags/list", "", nil, 404},
		"wrong method":    {"POST", "a/manifests/t", image, nil, 405},
		"wrong bytes":     {"POST", "a/blobs/uploads/?digest=" + absent.String(), "", []byte("present"), 400},
		"climbing digest": {"POST", "a/blobs/uploads/?digest=sha256:..", "", []byte("x"), 400},
	} {
		if got := call(t, c.method, s.URL+"/v2/"+c.path, c.contentType, c.body); got != c.want {
			t.Errorf("%s: status %d, not %d", name, got, c.want)
		}
	}
	if got := referrers(t, repo, ocispec.Descriptor{MediaType: image, Digest: absent, Size: 1}, ""); len(got) != 0 {
		t.Errorf("referrers of nothing are %q", got)
	}
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

func TestTagPages(t *testing.T) {
	s := start(t, localstack.Config{})
	repo := open(t, s)
	image := pack(t, repo, imageType, "image", nil)
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("v%d", i))
		if err := repo.Tag(t.Context(), image, want[i]); err != nil {
			t.Fatal(err)
		}
	}
	repo.TagListPageSize = 3
	if got := tags(t, repo); got != strings.Join(want, " ") {
		t.Errorf("tags are %q", got)
	}
	if _, err := content.FetchAll(t.Context(), repo, image); err != nil {
		t.Error(err)
	}
}

func tags(t *testing.T, repo *remote.Repository) string {
	t.Helper()
	var all []string
	if err := repo.Tags(t.Context(), "", func(page []string) error { all = append(all, page...); return nil }); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func beginUpload(t *testing.T, url string) string {
	t.Helper()
	resp := send(t, http.MethodPost, url+"/v2/acme/minimal/blobs/uploads/", nil, nil)
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("beginning an upload: %d", resp.StatusCode)
	}
	return resp.Header.Get("Location")
}

func call(t *testing.T, method, url, contentType string, body []byte) int {
	t.Helper()
	return send(t, method, url, map[string]string{"Content-Type": contentType}, body).StatusCode
}

// send returns the response without its body.
func send(t *testing.T, method, url string, header map[string]string, body []byte) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}
