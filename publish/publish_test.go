package publish_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

var update = flag.Bool("update", false, "write the golden files")

func TestPublishAndVerifyAll(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64", "arm64"}, allFamilies()...)
	began := time.Now()
	pubs := publishBuild(t, dir, options(t, s))
	t.Logf("12 artifacts pushed and signed in %v", time.Since(began))
	if len(pubs.Publications) != 12 {
		t.Fatalf("%d publications, want 12", len(pubs.Publications))
	}
	began = time.Now()
	for _, p := range pubs.Publications {
		r, err := publish.Verify(t.Context(), publish.Access{}, p.OCIRef, policy(s))
		if err != nil {
			t.Fatalf("%s %s: %v", p.Arch, p.Family, err)
		}
		if r.Identity != s.Identity || r.Issuer != s.Issuer || p.CosignIdentity != s.Identity || p.CosignIssuer != s.Issuer {
			t.Errorf("%s %s: signed by %s of %s", p.Arch, p.Family, r.Identity, r.Issuer)
		}
		want := publish.PublicationPredicate{
			PlatformName: "debian-13-server", GitSHA: gitSHA, Arch: p.Arch, ArtifactFamily: p.Family, SHA256: p.SHA256, SizeBytes: p.SizeBytes,
			BuiltAt: "2026-11-22T00:00:00Z", ComposefsDigest: p.ComposefsDigest, RootHash: p.RootHash, BuildManifestSHA256: p.BuildManifestSHA256,
		}
		if r.Publication == nil || *r.Publication != want {
			t.Errorf("%s %s: publication %+v, want %+v", p.Arch, p.Family, r.Publication, want)
		}
		if len(r.SBOMs) != 2 || len(r.Attestations) != 5 || !strings.HasPrefix(p.SBOMURL, "oci://"+pubs.Repository+"@sha256:") {
			t.Errorf("%s %s: %d SBOMs, %d attestations, SBOM at %q", p.Arch, p.Family, len(r.SBOMs), len(r.Attestations), p.SBOMURL)
		}
		if got := string(r.Predicate(publish.PredicateSPDX)); got != `{"spdxVersion":"SPDX-2.3","name":"<`+p.Arch+`>","n":1e400}` {
			t.Errorf("the SBOM became %s", got)
		}
		if p.Family == "oci" && (p.OCIDigest != "sha256:"+p.SHA256 || p.SizeBytes != r.Size) {
			t.Errorf("the image %s is published as %s, %d bytes", p.OCIDigest, p.SHA256, p.SizeBytes)
		}
		if err := publish.CheckLayers(t.Context(), publish.Access{}, p.OCIRef, r.Layers, 4); err != nil {
			t.Error(err)
		}
	}
	t.Logf("12 artifacts verified in %v", time.Since(began))
	checkIndex(t, s, pubs)
}

func checkIndex(t *testing.T, s *localstack.Stack, pubs *publish.Publications) {
	t.Helper()
	digest, err := publish.Resolve(t.Context(), publish.Access{}, pubs.Repository+":"+gitSHA)
	if err != nil || digest != pubs.Index.Digest {
		t.Fatalf("the index tag names %s (%v), want %s", digest, err, pubs.Index.Digest)
	}
	p := policy(s)
	p.RequirePredicates = nil
	r, err := publish.Verify(t.Context(), publish.Access{}, pubs.Repository+":"+gitSHA, p)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Entries) != 12 || r.Entries[0].Family != "oci" || r.Entries[0].Arch != "amd64" || r.Entries[6].Family != "oci" || r.Entries[6].Arch != "arm64" {
		t.Errorf("index entries: %+v", r.Entries)
	}
	var index ocispec.Index
	get(t, s, "manifests/"+digest, &index)
	for _, m := range index.Manifests {
		want := publish.ArtifactType
		if m.Annotations[publish.AnnotationFamily] == "oci" {
			want = ""
		}
		if m.ArtifactType != want || m.Platform == nil || m.Platform.OS != "linux" || m.MediaType != ocispec.MediaTypeImageManifest {
			t.Errorf("index entry %+v", m)
		}
	}
}

func TestPublishTwiceSendsNothing(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64"}, allFamilies()...)
	o := options(t, s)
	first := &spy{}
	o.Access.Transport = first
	pubs := publishBuild(t, dir, o)
	if first.blobBytes == 0 {
		t.Fatal("the first publish sent nothing")
	}
	second := &spy{}
	o.Access.Transport = second
	o.Signer = newSigner(t, s, nil)
	o.Run.InvocationID = "run 2"
	again := publishBuild(t, dir, o)
	if len(second.puts) != 0 || second.blobBytes != 0 {
		t.Errorf("the second publish sent %d blob bytes: %q", second.blobBytes, second.puts)
	}
	if !reflect.DeepEqual(pubs, again) {
		t.Errorf("the second publish returned other digests: index %s, before %s", again.Index.Digest, pubs.Index.Digest)
	}
}

func TestPublishAsSomebodyElseSignsAgain(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64"}, "raw", "iso")
	o := options(t, s)
	pubs := publishBuild(t, dir, o)
	other := localstack.Workflow{Ref: "refs/heads/other"}
	o.Signer = newSigner(t, s, tokenFor(s, other))
	again := publishBuild(t, dir, o)
	if find(t, again, "iso").OCIDigest != find(t, pubs, "iso").OCIDigest {
		t.Error("the iso's manifest depends on who signs it")
	}
	if find(t, again, "raw").OCIDigest == find(t, pubs, "raw").OCIDigest {
		t.Error("a disk image with bundles of another identity was used again")
	}
	p := policy(s)
	p.IdentityRegexp = `https://gitea\.example\.org/acme/images/\.gitea/workflows/build\.yml@refs/heads/other`
	for _, pub := range again.Publications {
		if _, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, p); err != nil {
			t.Errorf("%s: %v", pub.Family, err)
		}
	}
}

func TestArchitecturesPublishedApartShareTheIndex(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64", "arm64"}, "iso", "oci")
	o := options(t, s)
	for _, arch := range []string{"arm64", "amd64"} {
		if _, err := publish.Publish(t.Context(), publish.Build{Dir: dir, Arches: []string{arch}}, o); err != nil {
			t.Fatal(err)
		}
	}
	whole := publishBuild(t, dir, o)
	p := policy(s)
	p.RequirePredicates = nil
	r, err := publish.Verify(t.Context(), publish.Access{}, whole.Repository+":"+gitSHA, p)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Entries) != 4 || r.Digest != whole.Index.Digest {
		t.Errorf("the index %s has the entries %+v", r.Digest, r.Entries)
	}
}

// TestArchitecturesPublishedAtOnce: as the jobs of a matrix do. None of the
// indexes that they write may lack what another one has published before.
func TestArchitecturesPublishedAtOnce(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64", "arm64"}, "iso", "oci")
	for i := range 4 {
		o := options(t, s)
		o.Repository = fmt.Sprintf("%s/acme/at-once-%d", s.Registry, i)
		var both sync.WaitGroup
		both.Add(2)
		errs := make(chan error, 2)
		for _, arch := range []string{"amd64", "arm64"} {
			o := o
			o.Signer = newSigner(t, s, nil)
			waited := false
			// Both look for the index before one of them writes it.
			o.Access.Transport = &spy{before: func(req *http.Request) *http.Response {
				if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/tags/list") && !waited {
					waited = true
					both.Done()
					both.Wait()
				}
				return nil
			}}
			go func() {
				_, err := publish.Publish(t.Context(), publish.Build{Dir: dir, Arches: []string{arch}}, o)
				errs <- err
			}()
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		look, err := publish.LookAt(t.Context(), publish.Access{}, o.Repository+"/debian-13-server:"+gitSHA)
		if err != nil || len(look.Entries) != 4 || len(look.Referrers) == 0 {
			t.Errorf("the index lists %+v, %v", look, err)
		}
	}
}

// TestPublishedTwiceAtOnce: two machines sign the same manifests, in a registry
// where they write the lists of referrers themselves. Both signers' statements
// are found afterwards; one that the other's last list lacks, which nothing can
// prevent there, is listed when its signer publishes again.
func TestPublishedTwiceAtOnce(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64"}, "iso")
	errs := make(chan error, 2)
	workflows := []localstack.Workflow{{}, {Ref: "refs/heads/other"}}
	o := options(t, s)
	for _, w := range workflows {
		o := o
		o.Signer, o.Access.Transport = newSigner(t, s, tokenFor(s, w)), withoutReferrersAPI()
		go func() {
			_, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, o)
			errs <- err
		}()
	}
	for range workflows {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range workflows {
		p := policy(s)
		p.IdentityRegexp = regexp.QuoteMeta(s.IdentityOf(w))
		verify := func() error {
			_, err := publish.Verify(t.Context(), publish.Access{Transport: withoutReferrersAPI()}, o.Repository+"/debian-13-server:"+gitSHA+"-amd64-iso", p)
			return err
		}
		err := verify()
		if err == nil {
			continue
		}
		t.Logf("publishing again, as a list was replaced: %v", err)
		o.Signer, o.Access.Transport = newSigner(t, s, tokenFor(s, w)), withoutReferrersAPI()
		if _, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, o); err != nil {
			t.Fatal(err)
		}
		if err := verify(); err != nil {
			t.Error(err)
		}
	}
}

// withoutReferrersAPI behaves as Gitea and distribution do.
func withoutReferrersAPI() *spy {
	return &spy{
		before: func(req *http.Request) *http.Response {
			if strings.Contains(req.URL.Path, "/referrers/") {
				return answer(http.StatusNotFound, `{}`)
			}
			return nil
		},
		after: func(resp *http.Response) { resp.Header.Del("OCI-Subject") },
	}
}

func TestRegistryWithoutReferrersAPI(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64"}, "raw", "iso", "oci")
	o := options(t, s)
	o.Access.Transport = withoutReferrersAPI()
	pubs := publishBuild(t, dir, o)
	for _, p := range pubs.Publications {
		if _, err := publish.Verify(t.Context(), o.Access, p.OCIRef, policy(s)); err != nil {
			t.Errorf("%s: %v", p.Family, err)
		}
	}
	second := withoutReferrersAPI()
	o.Access.Transport = second
	publishBuild(t, dir, o)
	if len(second.puts) != 0 {
		t.Errorf("the second publish sent %q", second.puts)
	}
}

func TestChangedFileIsNotPublished(t *testing.T) {
	s := startStack(t, localstack.Config{})
	for name, change := range map[string]func(data []byte) []byte{
		"same size": func(data []byte) []byte { data[len(data)-1]++; return data },
		"shorter":   func(data []byte) []byte { return data[1:] },
		"longer":    func(data []byte) []byte { return append(data, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeBuild(t, []string{"amd64"}, "iso")
			path := filepath.Join(dir, "amd64/iso/debian-13-server-amd64.iso")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			writeTestFile(t, path, change(data))
			_, err = publish.Publish(t.Context(), publish.Build{Dir: dir}, options(t, s))
			if fault.ClassOf(err) != fault.Input {
				t.Errorf("error %v, want one of class Input", err)
			}
		})
	}
}

func TestSigningServicesDown(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64"}, "raw", "iso")
	o := options(t, s)
	good := o.Signer
	down, err := publish.NewSigner(publish.SignerOptions{
		SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath, Token: s.IssueToken,
		Transport: &spy{before: func(*http.Request) *http.Response { return answer(http.StatusForbidden, "closed for the day") }},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Signer = down
	_, err = publish.Publish(t.Context(), publish.Build{Dir: dir}, o)
	if fault.ClassOf(err) != fault.Remote || !strings.Contains(err.Error(), "403") || !strings.Contains(err.Error(), "closed for the day") {
		t.Fatalf("error %v, want one of class Remote with the service's words", err)
	}
	repo := o.Repository + "/debian-13-server"
	if _, err := publish.Resolve(t.Context(), o.Access, repo+":"+gitSHA+"-amd64-iso"); err != nil {
		t.Errorf("what was pushed did not stay: %v", err)
	}
	if _, err := publish.Resolve(t.Context(), o.Access, repo+":"+gitSHA); err == nil {
		t.Error("the index exists though nothing is signed")
	}
	o.Signer = good
	pubs := publishBuild(t, dir, o)
	for _, p := range pubs.Publications {
		if _, err := publish.Verify(t.Context(), o.Access, p.OCIRef, policy(s)); err != nil {
			t.Error(err)
		}
	}
}

func TestDiskImageCarriesItsBundles(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "raw"), options(t, s))
	pub := find(t, pubs, "raw")
	r, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, policy(s))
	if err != nil {
		t.Fatal(err)
	}
	var titles, types []string
	for _, l := range r.Layers {
		titles, types = append(titles, l.Title), append(types, l.MediaType)
	}
	name := "debian-13-server-amd64.img"
	if want := []string{name, name + ".cosign-bundle", name + ".attestation-bundle"}; !reflect.DeepEqual(titles, want) {
		t.Errorf("layers %q, want %q", titles, want)
	}
	if want := []string{"application/octet-stream", publish.CosignBundleMediaType, publish.AttestationBundleMediaType}; !reflect.DeepEqual(types, want) {
		t.Errorf("media types %q, want %q", types, want)
	}
	dir := t.TempDir()
	if err := publish.PullLayers(t.Context(), publish.Access{}, pub.OCIRef, r.Layers, dir, 0); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{".cosign-bundle", ".attestation-bundle"} {
		if err := publish.VerifyFile(t.Context(), filepath.Join(dir, name), filepath.Join(dir, name+suffix), policy(s)); err != nil {
			t.Error(err)
		}
	}
	writeTestFile(t, filepath.Join(dir, name), []byte("another image"))
	err = publish.VerifyFile(t.Context(), filepath.Join(dir, name), filepath.Join(dir, name+".cosign-bundle"), policy(s))
	if publish.ReasonOf(err) != publish.SignatureFailed {
		t.Errorf("error %v, want %s", err, publish.SignatureFailed)
	}
}

func TestManifestsAreGolden(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "kernel-initrd", "oci"), options(t, s))
	for _, name := range []string{"kernel-initrd", "index"} {
		digest := pubs.Index.Digest
		if name != "index" {
			digest = find(t, pubs, name).OCIDigest
		}
		var raw json.RawMessage
		get(t, s, "manifests/"+digest, &raw)
		var got bytes.Buffer
		if err := json.Indent(&got, raw, "", "  "); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name+".json")
		if *update {
			writeTestFile(t, golden, got.Bytes())
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s is\n%s\nwant\n%s", name, got.Bytes(), want)
		}
	}
}

func TestBadBuilds(t *testing.T) {
	s := startStack(t, localstack.Config{})
	change := func(f func(m *manifest.Manifest)) string {
		dir := writeBuild(t, []string{"amd64", "arm64"}, "iso", "oci")
		m, err := manifest.Read(filepath.Join(dir, "arm64"))
		if err != nil {
			t.Fatal(err)
		}
		f(m)
		raw, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		writeTestFile(t, filepath.Join(dir, "arm64", manifest.FileName), raw)
		return dir
	}
	for name, dir := range map[string]string{
		"empty":          t.TempDir(),
		"missing":        filepath.Join(t.TempDir(), "none"),
		"other commit":   change(func(m *manifest.Manifest) { m.GitSHA = "fedcba" }),
		"no commit":      change(func(m *manifest.Manifest) { m.GitSHA = "" }),
		"other platform": change(func(m *manifest.Manifest) { m.Platform = "other" }),
		"no families":    change(func(m *manifest.Manifest) { m.Families = nil }),
		"other image":    change(func(m *manifest.Manifest) { m.OCIDigest = "sha256:" + strings.Repeat("0", 64) }),
		"unlisted main":  change(func(m *manifest.Manifest) { m.Families[0].Main = "iso/other" }),
		"leaves":         change(func(m *manifest.Manifest) { m.Families[0].Files[0].Path = "../../etc/passwd" }),
		"unlisted leaves": change(func(m *manifest.Manifest) {
			m.Artifacts["../x"] = manifest.File{}
			m.Families[0].Files[0].Path = "../x"
		}),
	} {
		_, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, options(t, s))
		if fault.ClassOf(err) != fault.Input {
			t.Errorf("%s: error %v, want one of class Input", name, err)
		}
	}
}

func TestPublicationsFile(t *testing.T) {
	dir := t.TempDir()
	want := &publish.Publications{SchemaVersion: 1, Platform: "p", Publications: []publish.Publication{{Arch: "amd64", SizeBytes: 1 << 40}}}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := publish.ReadPublications(dir)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v (%v), want %+v", got, err, want)
	}
	writeTestFile(t, filepath.Join(dir, publish.PublicationName), []byte(`{"schema_version": 9}`))
	if _, err := publish.ReadPublications(dir); fault.ClassOf(err) != fault.Input {
		t.Errorf("error %v, want one of class Input", err)
	}
}
