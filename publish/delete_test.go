package publish_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// TestDelete gives up the artifacts of a build one by one: their tags go at once,
// everything else with the last.
func TestDelete(t *testing.T) {
	s := startStack(t, localstack.Config{})
	for name, transport := range map[string]func() http.RoundTripper{
		"with api":    func() http.RoundTripper { return &spy{} },
		"without api": func() http.RoundTripper { return withoutReferrersAPI() },
		"no untagging": func() http.RoundTripper {
			way := withoutReferrersAPI()
			before := way.before
			way.before = func(req *http.Request) *http.Response {
				if req.Method == http.MethodDelete && !strings.Contains(req.URL.Path, "sha256:") {
					return answer(http.StatusMethodNotAllowed, `{}`)
				}
				return before(req)
			}
			return way
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, s)
			o.Repository += "/" + strings.ReplaceAll(name, " ", "-")
			o.Access.Transport, o.Cosign2 = transport(), true
			pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "iso", "raw", "oci"), o)
			for i, p := range pubs.Publications {
				last := i == len(pubs.Publications)-1
				for range 2 { // the second time nothing is left to do
					deleted, err := publish.Delete(t.Context(), o.Access, p.OCIRef, p.Tag, "no-such-tag")
					if err != nil || deleted != last {
						t.Fatalf("%s: deleted %v, error %v", p.Family, deleted, err)
					}
				}
				if _, err := publish.Resolve(t.Context(), o.Access, pubs.Repository+":"+p.Tag); err == nil {
					t.Errorf("the tag %s is still there", p.Tag)
				}
				if _, err := publish.Resolve(t.Context(), o.Access, pubs.Repository+":"+pubs.Index.Tag); (err == nil) == last {
					t.Errorf("the index after %d: %v", i+1, err)
				}
			}
			wantEmpty(t, s, strings.TrimPrefix(pubs.Repository, s.Registry+"/"))
		})
	}
	if _, err := publish.Delete(t.Context(), publish.Access{}, s.Registry+"/x/y:tag"); fault.ClassOf(err) != fault.Input {
		t.Errorf("error %v, want one of class Input", err)
	}
}

// wantEmpty looks into the registry's folder: no manifest and no tag may be left
// in a repository, listed or not.
func wantEmpty(t *testing.T, s *localstack.Stack, repository string) {
	t.Helper()
	top := filepath.Join(filepath.Dir(s.TrustedRootPath), "registry/repos", filepath.FromSlash(repository))
	if _, err := os.Stat(top); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			raw, _ := os.ReadFile(path)
			t.Errorf("%s is left: %.300s", path, raw)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestInterruptedDelete breaks a deletion off at each of its steps and repeats
// it: nothing is left, and what another build uses stays.
func TestInterruptedDelete(t *testing.T) {
	s := startStack(t, localstack.Config{})
	for _, api := range []bool{true, false} {
		for stop := 1; ; stop++ {
			o := options(t, s)
			o.Repository = fmt.Sprintf("%s/acme/%v-%d", s.Registry, api, stop)
			way := &spy{}
			if !api {
				way = withoutReferrersAPI()
			}
			o.Access.Transport = way
			pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), o)
			p, requests, before := pubs.Publications[0], 0, way.before
			o.Access.Wait = time.Nanosecond
			way.before = func(req *http.Request) *http.Response {
				if req.Method == http.MethodDelete {
					if requests++; requests >= stop {
						return answer(http.StatusForbidden, `{}`)
					}
				}
				if before != nil {
					return before(req)
				}
				return nil
			}
			deleted, err := publish.Delete(t.Context(), o.Access, p.OCIRef, p.Tag)
			way.before = before
			if deleted {
				break
			}
			if fault.ClassOf(err) != fault.Remote {
				t.Fatalf("error %v", err)
			}
			if deleted, err := publish.Delete(t.Context(), o.Access, p.OCIRef, p.Tag); !deleted || err != nil {
				t.Fatalf("stopped at step %d: deleted %v, error %v", stop, deleted, err)
			}
			wantEmpty(t, s, strings.TrimPrefix(pubs.Repository, s.Registry+"/"))
		}
	}
}

// TestDeleteKeepsWhatIsUsed: manifests that another tag, another build's index or
// somebody's own index names.
func TestDeleteKeepsWhatIsUsed(t *testing.T) {
	s := startStack(t, localstack.Config{})
	o := options(t, s)
	pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "iso", "qcow2"), o)
	iso, qcow2 := find(t, pubs, "iso"), find(t, pubs, "qcow2")
	var index ocispec.Index
	get(t, s, "manifests/"+pubs.Index.Digest, &index)
	index.Annotations = nil
	putIndex(t, s, "debian-13-server", "mine", index)
	for _, p := range []publish.Publication{iso, qcow2, iso} {
		if deleted, err := publish.Delete(t.Context(), publish.Access{}, p.OCIRef, p.Tag); deleted || err != nil {
			t.Errorf("%s: deleted %v, error %v", p.Family, deleted, err)
		}
		if _, err := publish.Verify(t.Context(), publish.Access{}, p.OCIRef, policy(s)); err != nil {
			t.Errorf("%s: %v", p.Family, err)
		}
	}
	if _, err := publish.Resolve(t.Context(), publish.Access{}, pubs.Repository+":"+pubs.Index.Tag); err == nil {
		t.Error("the index of nothing is still there")
	}
	if deleted, err := publish.Delete(t.Context(), publish.Access{}, pubs.Repository+"@"+indexDigest(t, index), "mine"); !deleted || err != nil {
		t.Errorf("deleted %v, error %v", deleted, err)
	}
	for _, p := range []publish.Publication{iso, qcow2} {
		if deleted, err := publish.Delete(t.Context(), publish.Access{}, p.OCIRef); !deleted || err != nil {
			t.Errorf("%s: deleted %v, error %v", p.Family, deleted, err)
		}
	}
	wantEmpty(t, s, strings.TrimPrefix(pubs.Repository, s.Registry+"/"))
}

// putIndex puts an index under a tag.
func putIndex(t *testing.T, s *localstack.Stack, name, tag string, index ocispec.Index) {
	t.Helper()
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+"/v2/acme/disk-images/"+name+"/manifests/"+tag, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", ocispec.MediaTypeImageIndex)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatal(resp.Status)
	}
}

func indexDigest(t *testing.T, index ocispec.Index) string {
	t.Helper()
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	return "sha256:" + hexSum(raw)
}

func TestDeleteKeepsATagThatMoved(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "iso", "qcow2"), options(t, s))
	iso, qcow2 := find(t, pubs, "iso"), find(t, pubs, "qcow2")
	if _, err := publish.Delete(t.Context(), publish.Access{}, iso.OCIRef, iso.Tag, qcow2.Tag); err != nil {
		t.Fatal(err)
	}
	if d, err := publish.Resolve(t.Context(), publish.Access{}, pubs.Repository+":"+qcow2.Tag); err != nil || d != qcow2.OCIDigest {
		t.Errorf("the other tag names %s (%v)", d, err)
	}
}
