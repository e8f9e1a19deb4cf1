package publish_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// TestPullImage gets an image back as the layout that it was published from.
func TestPullImage(t *testing.T) {
	s := startStack(t, localstack.Config{})
	built := writeBuild(t, []string{"amd64"}, "oci", "raw")
	pubs := publishBuild(t, built, options(t, s))
	pub := find(t, pubs, "oci")
	r, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, policy(s))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := publish.PullImage(t.Context(), publish.Access{}, pub.OCIRef, r, dir, 0); err != nil {
		t.Fatal(err)
	}
	blobs, err := os.ReadDir(filepath.Join(built, "amd64/oci/blobs/sha256"))
	if err != nil || len(blobs) != 3 {
		t.Fatalf("%v, %v", blobs, err)
	}
	for _, b := range blobs {
		raw, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", b.Name()))
		if err != nil || hexSum(raw) != b.Name() {
			t.Errorf("the blob %s: %v", b.Name(), err)
		}
	}
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil || !strings.Contains(string(index), pub.OCIDigest) {
		t.Errorf("index %s, %v", index, err)
	}
	tamper := &spy{after: func(resp *http.Response) {
		if strings.HasSuffix(resp.Request.URL.Path, r.Layers[0].Digest) {
			setBody(resp, append(readBody(t, resp), 0))
		}
	}}
	refused(t, publish.PullImage(t.Context(), publish.Access{Transport: tamper}, pub.OCIRef, r, t.TempDir(), 0), publish.DigestMismatch)

	raw := find(t, pubs, "raw")
	if r, err = publish.Verify(t.Context(), publish.Access{}, raw.OCIRef, policy(s)); err != nil {
		t.Fatal(err)
	}
	if err := publish.PullImage(t.Context(), publish.Access{}, raw.OCIRef, r, t.TempDir(), 0); err == nil || !strings.Contains(err.Error(), "it is none") {
		t.Errorf("a disk image is pulled as an OCI image: %v", err)
	}
}

// TestLookAt looks at what was published, without a trust root.
func TestLookAt(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pubs := publishBuild(t, writeBuild(t, []string{"amd64", "arm64"}, "oci", "raw"), options(t, s))
	pub := find(t, pubs, "raw")
	look, err := publish.LookAt(t.Context(), publish.Access{}, pub.OCIRef)
	if err != nil {
		t.Fatal(err)
	}
	if look.Digest != pub.OCIDigest || look.ArtifactType != publish.ArtifactType || look.Annotations[publish.AnnotationFamily] != "raw" {
		t.Errorf("%+v", look.Result)
	}
	seen := map[string]bool{}
	for _, r := range look.Referrers {
		seen[r.Predicate] = true
		if r.Identity != s.Identity || r.Issuer != s.Issuer || r.ArtifactType != publish.BundleMediaType {
			t.Errorf("%+v", r)
		}
	}
	for _, want := range append(policy(s).RequirePredicates, publish.PredicateSignature) {
		if !seen[want] {
			t.Errorf("no referrer of type %s among %v", want, look.Referrers)
		}
	}
	image, err := publish.LookAt(t.Context(), publish.Access{}, find(t, pubs, "oci").OCIRef)
	if err != nil || image.ConfigType != "application/vnd.oci.image.config.v1+json" || len(image.Layers) != 1 {
		t.Errorf("%+v, %v", image, err)
	}
	index, err := publish.LookAt(t.Context(), publish.Access{}, pubs.Repository+":"+pubs.Index.Tag)
	if err != nil || len(index.Entries) != 4 || len(index.Referrers) != 1 {
		t.Errorf("%+v, %v", index, err)
	}
	if _, err := publish.LookAt(t.Context(), publish.Access{}, pubs.Repository); err == nil || !strings.Contains(err.Error(), "neither a tag nor a digest") {
		t.Errorf("%v", err)
	}
	_, err = publish.LookAt(t.Context(), publish.Access{}, pubs.Repository+":never")
	refused(t, err, publish.Unreachable)
}
