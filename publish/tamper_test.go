package publish_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
)

func TestVerifyRefusesOtherBytes(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s)), "iso")
	for name, change := range map[string]func(t *testing.T, resp *http.Response){
		"one byte": func(t *testing.T, resp *http.Response) {
			setBody(resp, bytes.Replace(readBody(t, resp), []byte("debian-13"), []byte("debian-12"), 1))
		},
		"longer": func(t *testing.T, resp *http.Response) { setBody(resp, append(readBody(t, resp), ' ')) },
		"honest header": func(t *testing.T, resp *http.Response) {
			body := bytes.Replace(readBody(t, resp), []byte("debian-13"), []byte("debian-12"), 1)
			resp.Header.Set("Docker-Content-Digest", "sha256:"+hexSum(body))
			setBody(resp, body)
		},
	} {
		t.Run(name, func(t *testing.T) {
			tamper := &spy{after: func(resp *http.Response) {
				if resp.Request.Method == http.MethodGet && strings.HasSuffix(resp.Request.URL.Path, "/manifests/"+pub.OCIDigest) {
					change(t, resp)
				}
			}}
			_, err := publish.Verify(t.Context(), publish.Access{Transport: tamper}, pub.OCIRef, policy(s))
			refused(t, err, publish.DigestMismatch)
		})
	}
}

func TestVerifyRefusesTamperedBundles(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "iso", "qcow2"), options(t, s))
	iso, qcow2 := find(t, pubs, "iso"), find(t, pubs, "qcow2")
	p := policy(s)
	p.RequirePredicates = nil

	t.Run("copied from another artifact", func(t *testing.T) {
		target := reattach(t, s, pubs.Repository, iso)
		_, err := publish.Verify(t.Context(), publish.Access{}, target, p)
		refused(t, err, publish.SignatureFailed)
	})
	for name, edit := range map[string]func(m map[string]any){
		"no log entry": func(m map[string]any) { delete(m["verificationMaterial"].(map[string]any), "tlogEntries") },
		"no timestamp": func(m map[string]any) {
			delete(m["verificationMaterial"].(map[string]any), "timestampVerificationData")
		},
		"no certificate": func(m map[string]any) {
			delete(m["verificationMaterial"].(map[string]any), "certificate")
			m["verificationMaterial"].(map[string]any)["publicKey"] = map[string]any{"hint": "x"}
		},
		"other payload": func(m map[string]any) { m["dsseEnvelope"].(map[string]any)["payload"] = "e30=" },
		"no signature":  func(m map[string]any) { m["dsseEnvelope"].(map[string]any)["signatures"] = []any{} },
		"nonsense":      func(m map[string]any) { clear(m) },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := publish.Verify(t.Context(), publish.Access{Transport: editBundles(t, edit)}, qcow2.OCIRef, p)
			refused(t, err, publish.SignatureFailed)
		})
	}
	t.Run("unchanged", func(t *testing.T) {
		nothing := editBundles(t, func(map[string]any) {})
		if _, err := publish.Verify(t.Context(), publish.Access{Transport: nothing}, qcow2.OCIRef, p); err != nil {
			t.Error(err)
		}
	})
	t.Run("SBOM as signature", func(t *testing.T) {
		hide := editReferrers(t, func(predicateType string) bool { return predicateType == publish.PredicateSPDX })
		_, err := publish.Verify(t.Context(), publish.Access{Transport: hide}, iso.OCIRef, p)
		refused(t, err, publish.SignatureFailed)
		if !strings.Contains(err.Error(), "no signature") {
			t.Errorf("error %v does not say that the signature is missing", err)
		}
	})
	t.Run("stripped referrers", func(t *testing.T) {
		hide := editReferrers(t, func(string) bool { return false })
		_, err := publish.Verify(t.Context(), publish.Access{Transport: hide}, iso.OCIRef, p)
		refused(t, err, publish.SignatureFailed)
	})
	t.Run("no publication statement", func(t *testing.T) {
		hide := editReferrers(t, func(predicateType string) bool { return predicateType != publish.PredicatePublication })
		_, err := publish.Verify(t.Context(), publish.Access{Transport: hide}, iso.OCIRef, policy(s))
		refused(t, err, publish.PredicateMissing)
	})
	t.Run("junk among the referrers", func(t *testing.T) {
		junk(t, pubs.Repository, iso, 5)
		if _, err := publish.Verify(t.Context(), publish.Access{}, iso.OCIRef, policy(s)); err != nil {
			t.Error(err)
		}
	})
	for name, bad := range map[string]ocispec.Descriptor{
		"no digest":        {MediaType: ocispec.MediaTypeImageManifest, Size: 10},
		"malformed digest": {MediaType: ocispec.MediaTypeImageManifest, Size: 10, Digest: "sha256:../../x"},
		"unknown digest":   {MediaType: ocispec.MediaTypeImageManifest, Size: 10, Digest: "md5:00"},
		"negative size":    {MediaType: ocispec.MediaTypeImageManifest, Size: -10, Digest: digestOf("x")},
		"absent":           {MediaType: ocispec.MediaTypeImageManifest, Size: 10, Digest: digestOf("x")},
		"huge":             {MediaType: ocispec.MediaTypeImageManifest, Size: 1 << 60, Digest: digestOf("x")},
	} {
		t.Run("referrer with "+name, func(t *testing.T) {
			evil := changeReferrers(t, func(list []ocispec.Descriptor) []ocispec.Descriptor {
				return append([]ocispec.Descriptor{bad}, list...)
			})
			if _, err := publish.Verify(t.Context(), publish.Access{Transport: evil}, iso.OCIRef, policy(s)); err != nil {
				t.Error(err)
			}
		})
		t.Run("bundle with "+name, func(t *testing.T) {
			bad.MediaType = publish.BundleMediaType
			evil := editReferrerManifests(t, func(m *ocispec.Manifest) { m.Layers[0] = bad })
			if _, err := publish.Verify(t.Context(), publish.Access{Transport: evil}, iso.OCIRef, policy(s)); publish.ReasonOf(err) == "" {
				t.Errorf("error %v, want a refusal", err)
			}
		})
	}
	t.Run("duplicated and reordered", func(t *testing.T) {
		want, err := publish.Verify(t.Context(), publish.Access{}, iso.OCIRef, policy(s))
		if err != nil {
			t.Fatal(err)
		}
		mixed := changeReferrers(t, func(list []ocispec.Descriptor) []ocispec.Descriptor {
			slices.Reverse(list)
			return append(list, list...)
		})
		got, err := publish.Verify(t.Context(), publish.Access{Transport: mixed}, iso.OCIRef, policy(s))
		if err != nil || *got.Publication != *want.Publication || got.Identity != want.Identity {
			t.Errorf("verified %+v (%v), want %+v", got, err, want)
		}
	})
	t.Run("too many referrers", func(t *testing.T) {
		many := changeReferrers(t, func(list []ocispec.Descriptor) []ocispec.Descriptor {
			for len(list) < 300 {
				list = append(list, list[0])
			}
			return list
		})
		_, err := publish.Verify(t.Context(), publish.Access{Transport: many}, iso.OCIRef, p)
		refused(t, err, publish.SignatureFailed)
	})
}

// editReferrers hides the referrers whose predicate type keep rejects.
func editReferrers(t *testing.T, keep func(predicateType string) bool) *spy {
	return changeReferrers(t, func(list []ocispec.Descriptor) []ocispec.Descriptor {
		kept := []ocispec.Descriptor{}
		for _, m := range list {
			if keep(m.Annotations["dev.sigstore.bundle.predicateType"]) {
				kept = append(kept, m)
			}
		}
		return kept
	})
}

// changeReferrers changes the registry's lists of referrers.
func changeReferrers(t *testing.T, change func([]ocispec.Descriptor) []ocispec.Descriptor) *spy {
	return &spy{after: func(resp *http.Response) { changeList(t, resp, change) }}
}

func changeList(t *testing.T, resp *http.Response, change func([]ocispec.Descriptor) []ocispec.Descriptor) {
	if !strings.Contains(resp.Request.URL.Path, "/referrers/") {
		return
	}
	var index ocispec.Index
	if err := json.Unmarshal(readBody(t, resp), &index); err != nil {
		t.Error(err)
	}
	index.Manifests = change(index.Manifests)
	raw, err := json.Marshal(index)
	if err != nil {
		t.Error(err)
	}
	setBody(resp, raw)
}

func digestOf(s string) digest.Digest { return digest.FromString(s) }

// editBundles changes every bundle and, to match, its descriptor in the referrer
// and the referrer's in the list.
func editBundles(t *testing.T, edit func(map[string]any)) *spy {
	return rewrite(t, func(base string, blobs map[string][]byte, m *ocispec.Manifest) {
		var b map[string]any
		fetch(t, base+"/blobs/"+m.Layers[0].Digest.String(), &b)
		edit(b)
		m.Layers[0] = put(t, blobs, m.Layers[0], b)
	})
}

// editReferrerManifests changes the referrers' manifests.
func editReferrerManifests(t *testing.T, edit func(*ocispec.Manifest)) *spy {
	return rewrite(t, func(_ string, _ map[string][]byte, m *ocispec.Manifest) { edit(m) })
}

// rewrite changes the referrers' manifests; what edit adds to blobs the registry
// will seem to have.
func rewrite(t *testing.T, edit func(base string, blobs map[string][]byte, m *ocispec.Manifest)) *spy {
	blobs := map[string][]byte{} // by digest
	e := &spy{}
	e.before = func(req *http.Request) *http.Response {
		body, ok := blobs[filepath.Base(req.URL.Path)]
		if !ok {
			return nil
		}
		resp := answer(http.StatusOK, string(body))
		if strings.Contains(req.URL.Path, "/manifests/") {
			resp.Header.Set("Content-Type", ocispec.MediaTypeImageManifest)
		}
		return resp
	}
	e.after = func(resp *http.Response) {
		changeList(t, resp, func(list []ocispec.Descriptor) []ocispec.Descriptor {
			base := strings.Split(resp.Request.URL.String(), "/referrers/")[0]
			for i, r := range list {
				var m ocispec.Manifest
				fetch(t, base+"/manifests/"+r.Digest.String(), &m)
				edit(base, blobs, &m)
				list[i] = put(t, blobs, r, m)
			}
			return list
		})
	}
	return e
}

func put(t *testing.T, blobs map[string][]byte, d ocispec.Descriptor, v any) ocispec.Descriptor {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	fresh := content.NewDescriptorFromBytes(d.MediaType, raw)
	blobs[fresh.Digest.String()] = raw
	d.Digest, d.Size = fresh.Digest, fresh.Size
	return d
}

func fetch(t *testing.T, url string, v any) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", ocispec.MediaTypeImageManifest)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Errorf("GET %s: %v", url, err)
	}
}

func openRepo(t *testing.T, ref string) *remote.Repository {
	t.Helper()
	repo, err := remote.NewRepository(ref)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	return repo
}

// reattach pushes a new manifest with the bundles of a publication as its
// referrers, and returns its reference.
func reattach(t *testing.T, s *localstack.Stack, repository string, from publish.Publication) string {
	t.Helper()
	ctx := t.Context()
	repo := openRepo(t, repository)
	m, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, "application/x-other", oras.PackManifestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var list ocispec.Index
	fetch(t, s.URL+"/v2/"+repo.Reference.Repository+"/referrers/"+from.OCIDigest, &list)
	if len(list.Manifests) == 0 {
		t.Fatal("nothing to copy")
	}
	for _, r := range list.Manifests {
		var old ocispec.Manifest
		fetch(t, s.URL+"/v2/"+repo.Reference.Repository+"/manifests/"+r.Digest.String(), &old)
		_, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, old.ArtifactType, oras.PackManifestOptions{
			Subject: &m, Layers: old.Layers, ManifestAnnotations: old.Annotations,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return repository + "@" + m.Digest.String()
}

// junk attaches referrers that are no bundles, or pretend to be.
func junk(t *testing.T, repository string, to publish.Publication, n int) {
	t.Helper()
	ctx := t.Context()
	repo := openRepo(t, repository)
	subject, err := repo.Resolve(ctx, to.OCIDigest)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		layer, err := oras.PushBytes(ctx, repo, publish.BundleMediaType, []byte(strings.Repeat("{", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, publish.BundleMediaType, oras.PackManifestOptions{
			Subject: &subject, Layers: []ocispec.Descriptor{layer},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
