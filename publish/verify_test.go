package publish_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

func tokenFor(s *localstack.Stack, w localstack.Workflow) publish.TokenSource {
	return func(ctx context.Context) (string, error) {
		return s.Token(ctx, localstack.TokenRequest{Workflow: w})
	}
}

// refused fails the test unless err is a refusal for a reason.
func refused(t *testing.T, err error, want publish.Reason) {
	t.Helper()
	t.Log(err)
	if publish.ReasonOf(err) != want || fault.ClassOf(err) != fault.Remote {
		t.Errorf("error %v (reason %q, class %v), want a refusal with %q", err, publish.ReasonOf(err), fault.ClassOf(err), want)
	}
}

func TestVerifyRefusesStrangers(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s)), "iso")
	other := startStack(t, localstack.Config{})
	change := func(f func(p *publish.Policy)) publish.Policy {
		p := policy(s)
		f(&p)
		return p
	}
	id, iss := regexp.QuoteMeta(s.Identity), regexp.QuoteMeta(s.Issuer)
	for name, p := range map[string]publish.Policy{
		"wrong identity":         change(func(p *publish.Policy) { p.IdentityRegexp = `https://gitea\.example\.org/acme/other/.*` }),
		"wrong issuer":           change(func(p *publish.Policy) { p.IssuerRegexp = `https://token\.example\.org` }),
		"identity's beginning":   change(func(p *publish.Policy) { p.IdentityRegexp = id[:len(id)-1] }),
		"identity's end":         change(func(p *publish.Policy) { p.IdentityRegexp = id[1:] }),
		"issuer's beginning":     change(func(p *publish.Policy) { p.IssuerRegexp = iss[:len(iss)-1] }),
		"issuer's end":           change(func(p *publish.Policy) { p.IssuerRegexp = iss[1:] }),
		"identity swapped":       change(func(p *publish.Policy) { p.IdentityRegexp, p.IssuerRegexp = iss, id }),
		"alternation":            change(func(p *publish.Policy) { p.IdentityRegexp = `nobody|https://gitea\.example\.org/acme` }),
		"line anchors":           change(func(p *publish.Policy) { p.IdentityRegexp = `(?m)^https://gitea\.example\.org/acme$` }),
		"another CA's trust":     change(func(p *publish.Policy) { p.TrustedRootPath = other.TrustedRootPath }),
		"another branch's build": change(func(p *publish.Policy) { p.IdentityRegexp = strings.Replace(id, "main", "release", 1) }),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, p)
			refused(t, err, publish.SignatureFailed)
		})
	}
	_, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, change(func(p *publish.Policy) {
		p.RequirePredicates = []string{"https://example.org/boot-proof"}
	}))
	refused(t, err, publish.PredicateMismatch)
}

// TestVerifyRefusesPartsOfAnotherRoot takes one part of the trust root from
// another instance.
func TestVerifyRefusesPartsOfAnotherRoot(t *testing.T) {
	s, other := startStack(t, localstack.Config{}), startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s)), "iso")
	for _, part := range []string{"certificateAuthorities", "tlogs", "ctlogs", "timestampAuthorities"} {
		own, foreign := readJSON(t, s.TrustedRootPath), readJSON(t, other.TrustedRootPath)
		if own[part] == nil {
			t.Fatalf("the trust root has no %s", part)
		}
		own[part] = foreign[part]
		raw, err := json.Marshal(own)
		if err != nil {
			t.Fatal(err)
		}
		p := policy(s)
		p.TrustedRoot = raw
		_, err = publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, p)
		refused(t, err, publish.SignatureFailed)
	}
}

func readJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

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
		refused(t, err, publish.PredicateMismatch)
	})
	t.Run("junk among the referrers", func(t *testing.T) {
		junk(t, pubs.Repository, iso, 5)
		if _, err := publish.Verify(t.Context(), publish.Access{}, iso.OCIRef, policy(s)); err != nil {
			t.Error(err)
		}
	})
	t.Run("too many referrers", func(t *testing.T) {
		many := &spy{after: func(resp *http.Response) {
			if !strings.Contains(resp.Request.URL.Path, "/referrers/") {
				return
			}
			var index ocispec.Index
			if err := json.Unmarshal(readBody(t, resp), &index); err != nil {
				t.Error(err)
			}
			for len(index.Manifests) < 300 {
				index.Manifests = append(index.Manifests, index.Manifests[0])
			}
			raw, err := json.Marshal(index)
			if err != nil {
				t.Error(err)
			}
			setBody(resp, raw)
		}}
		_, err := publish.Verify(t.Context(), publish.Access{Transport: many}, iso.OCIRef, p)
		refused(t, err, publish.SignatureFailed)
	})
}

// editReferrers hides the referrers whose predicate type keep rejects.
func editReferrers(t *testing.T, keep func(predicateType string) bool) *spy {
	return &spy{after: func(resp *http.Response) {
		if !strings.Contains(resp.Request.URL.Path, "/referrers/") {
			return
		}
		var index ocispec.Index
		if err := json.Unmarshal(readBody(t, resp), &index); err != nil {
			t.Error(err)
		}
		kept := []ocispec.Descriptor{}
		for _, m := range index.Manifests {
			if keep(m.Annotations["dev.sigstore.bundle.predicateType"]) {
				kept = append(kept, m)
			}
		}
		index.Manifests = kept
		raw, err := json.Marshal(index)
		if err != nil {
			t.Error(err)
		}
		setBody(resp, raw)
	}}
}

// editBundles changes every bundle and, to match, its descriptor's digest and
// size in the referrer and the referrer's in the list.
func editBundles(t *testing.T, edit func(map[string]any)) *spy {
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
		if !strings.Contains(resp.Request.URL.Path, "/referrers/") {
			return
		}
		var index ocispec.Index
		if err := json.Unmarshal(readBody(t, resp), &index); err != nil {
			t.Error(err)
		}
		base := strings.Split(resp.Request.URL.String(), "/referrers/")[0]
		for i, r := range index.Manifests {
			var m ocispec.Manifest
			fetch(t, base+"/manifests/"+r.Digest.String(), &m)
			var b map[string]any
			fetch(t, base+"/blobs/"+m.Layers[0].Digest.String(), &b)
			edit(b)
			m.Layers[0] = put(t, blobs, m.Layers[0], b)
			index.Manifests[i] = put(t, blobs, r, m)
		}
		raw, err := json.Marshal(index)
		if err != nil {
			t.Error(err)
		}
		setBody(resp, raw)
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

func TestVerifyUnreachable(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s)), "iso")
	repo, _, _ := strings.Cut(pub.OCIRef, "@")
	for name, ref := range map[string]string{
		"no such digest": repo + "@sha256:" + strings.Repeat("0", 64),
		"no such tag":    repo + ":none",
		"no registry":    "127.0.0.1:1/x/y@" + pub.OCIDigest,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := publish.Verify(t.Context(), publish.Access{}, ref, policy(s))
			refused(t, err, publish.Unreachable)
			if _, err := publish.Resolve(t.Context(), publish.Access{}, ref); fault.ClassOf(err) != fault.Remote {
				t.Errorf("resolving: error %v, want one of class Remote", err)
			}
		})
	}
	for _, ref := range []string{"", "x", "127.0.0.1:1/UPPER@sha256:1", repo} {
		if _, err := publish.Verify(t.Context(), publish.Access{}, ref, policy(s)); fault.ClassOf(err) != fault.Input {
			t.Errorf("%q: error %v, want one of class Input", ref, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := publish.Verify(ctx, publish.Access{}, pub.OCIRef, policy(s)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

func TestVerifyLayout(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s)), "iso")
	repository, _, _ := strings.Cut(pub.OCIRef, "@")
	dir := t.TempDir()
	layout, err := oci.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.ExtendedCopy(t.Context(), openRepo(t, repository), pub.OCIDigest, layout, "copied", oras.DefaultExtendedCopyOptions); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"copied", pub.OCIDigest} {
		r, err := publish.VerifyLayout(t.Context(), dir, ref, policy(s))
		if err != nil {
			t.Fatal(err)
		}
		if r.Digest != pub.OCIDigest || len(r.Layers) != 1 || r.Publication == nil {
			t.Errorf("verified %+v", r)
		}
	}
}

func TestLayers(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "kernel-initrd"), options(t, s)), "kernel-initrd")
	r, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, policy(s))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := publish.PullLayers(t.Context(), publish.Access{}, pub.OCIRef, r.Layers, dir, 0); err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile(filepath.Join(dir, "vmlinuz"))
	if err != nil || hexSum(kernel) != pub.SHA256 {
		t.Errorf("the pulled kernel differs (%v)", err)
	}
	for name, change := range map[string]func(body []byte) []byte{
		"one byte": func(b []byte) []byte { b[0]++; return b },
		"shorter":  func(b []byte) []byte { return b[1:] },
		"longer":   func(b []byte) []byte { return append(b, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			tamper := &spy{after: func(resp *http.Response) {
				if strings.HasSuffix(resp.Request.URL.Path, r.Layers[0].Digest) {
					setBody(resp, change(readBody(t, resp)))
				}
			}}
			err := publish.CheckLayers(t.Context(), publish.Access{Transport: tamper}, pub.OCIRef, r.Layers, 0)
			refused(t, err, publish.DigestMismatch)
			empty := t.TempDir()
			err = publish.PullLayers(t.Context(), publish.Access{Transport: tamper}, pub.OCIRef, r.Layers[:1], empty, 0)
			refused(t, err, publish.DigestMismatch)
			if left, _ := os.ReadDir(empty); len(left) != 0 {
				t.Errorf("files are left: %v", left)
			}
		})
	}
	gone := r.Layers[0]
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	refused(t, publish.CheckLayers(t.Context(), publish.Access{}, pub.OCIRef, []publish.Layer{gone}, 0), publish.Unreachable)
	for _, title := range []string{"../out", "/out", "a/../../out"} {
		bad := r.Layers[0]
		bad.Title = title
		if err := publish.PullLayers(t.Context(), publish.Access{}, pub.OCIRef, []publish.Layer{bad}, dir, 0); err == nil {
			t.Errorf("pulled a layer titled %q", title)
		}
	}
}

// TestImports keeps the weight of other tools, and any CA, out of the package.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		for _, banned := range []string{
			"github.com/sigstore/cosign/v2/cmd", "github.com/sigstore/cosign/v2/pkg/cosign", "github.com/sigstore/fulcio", "github.com/anchore/",
			"github.com/powernode/bootsmith/publish/localstack", "github.com/powernode/bootsmith/cmd", "github.com/powernode/bootsmith/callback",
		} {
			if strings.HasPrefix(path, banned) {
				t.Errorf("publish depends on %s", path)
			}
		}
	}
}
