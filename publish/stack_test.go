package publish_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

const gitSHA = "0123456789abcdef0123456789abcdef01234567"

func startStack(t *testing.T, c localstack.Config) *localstack.Stack {
	t.Helper()
	c.Dir = filepath.Join(t.TempDir(), "stack")
	s, err := localstack.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Connections that were dialled and never used would hold up the end.
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newSigner(t *testing.T, s *localstack.Stack, token publish.TokenSource) *publish.Signer {
	t.Helper()
	if token == nil {
		token = s.IssueToken
	}
	signer, err := publish.NewSigner(publish.SignerOptions{SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func options(t *testing.T, s *localstack.Stack) publish.Options {
	return publish.Options{Repository: s.Registry + "/acme/disk-images", Signer: newSigner(t, s, nil), Run: publish.Run{InvocationID: "run 1"}}
}

// policy accepts the stack's default identity.
func policy(s *localstack.Stack) publish.Policy {
	return publish.Policy{
		TrustedRootPath: s.TrustedRootPath,
		IdentityRegexp:  regexp.QuoteMeta(s.Identity), IssuerRegexp: regexp.QuoteMeta(s.Issuer),
		RequirePredicates: []string{publish.PredicateSPDX, publish.PredicateCycloneDX, publish.PredicateProvenance, publish.PredicatePublication},
	}
}

func publishBuild(t *testing.T, dir string, o publish.Options) *publish.Publications {
	t.Helper()
	pubs, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, o)
	if err != nil {
		t.Fatal(err)
	}
	return pubs
}

// find returns the publication of a family for amd64.
func find(t *testing.T, p *publish.Publications, family string) publish.Publication {
	t.Helper()
	for _, pub := range p.Publications {
		if pub.Family == family && pub.Arch == "amd64" {
			return pub
		}
	}
	t.Fatalf("no publication of %s", family)
	return publish.Publication{}
}

// writeBuild makes the output folder of a build with the given architectures
// and families, all of it small and fixed.
func writeBuild(t *testing.T, arches []string, families ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, arch := range arches {
		writeArch(t, filepath.Join(dir, arch), arch, families)
	}
	return dir
}

func allFamilies() []string {
	return []string{"kernel-initrd", "raw", "iso", "ipxe", "qcow2", "oci"}
}

func writeArch(t *testing.T, dir, arch string, families []string) {
	t.Helper()
	m := &manifest.Manifest{
		SchemaVersion: manifest.SchemaVersion, Platform: "debian-13-server", Arch: arch, GitSHA: gitSHA,
		KernelVersion: "6.12.0", Artifacts: map[string]manifest.File{}, Variants: families,
		ComposefsDigest: strings.Repeat("c", 64), FsverityRootHash: strings.Repeat("c", 64), RootHash: strings.Repeat("d", 64),
		Cmdline: "console=ttyS0", Created: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		PlanDigest: "sha256:" + strings.Repeat("e", 64), DefinitionSHA256: strings.Repeat("f", 64),
		Inputs: []manifest.Package{{Name: "busybox-static", Version: "1:1.37", Arch: arch, SHA256: strings.Repeat("a", 64), Use: "root"}},
		Tools:  map[string]string{"bootsmith": "1.2.3"},
	}
	add := func(family, name, mediaType string, data []byte) string {
		path := family + "/" + name
		writeTestFile(t, filepath.Join(dir, path), data)
		m.Artifacts[path] = manifest.File{SHA256: hexSum(data), SizeBytes: int64(len(data))}
		f := &m.Families[len(m.Families)-1]
		f.Files = append(f.Files, manifest.FamilyFile{Path: path, MediaType: mediaType})
		return path
	}
	for _, family := range families {
		m.Families = append(m.Families, manifest.Family{Name: family})
		f := &m.Families[len(m.Families)-1]
		switch family {
		case "kernel-initrd":
			f.Main = add(family, "vmlinuz", "application/octet-stream", bytes.Repeat([]byte(arch+" kernel "), 1000))
			add(family, "cmdline", "text/plain", []byte(m.Cmdline))
		case "oci":
			m.OCIDigest, f.Main = addImage(t, arch, add)
		default:
			ext := map[string]string{"raw": "img", "iso": "iso", "ipxe": "ipxe", "qcow2": "qcow2"}[family]
			f.Main = add(family, "debian-13-server-"+arch+"."+ext, "application/octet-stream", bytes.Repeat([]byte(arch+family), 5000))
		}
	}
	writeTestFile(t, filepath.Join(dir, manifest.SPDXName), []byte(`{"spdxVersion":"SPDX-2.3","name":"<`+arch+`>","n":1e400}`))
	writeTestFile(t, filepath.Join(dir, manifest.CycloneDXName), []byte(`{"bomFormat": "CycloneDX", "version": 1}`))
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(dir, manifest.FileName), raw)
}

func addImage(t *testing.T, arch string, add func(family, name, mediaType string, data []byte) string) (digest, main string) {
	blob := func(data []byte) string {
		add("oci", "blobs/sha256/"+hexSum(data), "application/octet-stream", data)
		return fmt.Sprintf(`"digest":"sha256:%s","size":%d`, hexSum(data), len(data))
	}
	config := blob([]byte(`{"architecture":"` + arch + `","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`))
	layer := blob(bytes.Repeat([]byte(arch+" layer "), 3000))
	image := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",` + config +
		`},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar",` + layer + `}]}`)
	entry := blob(image)
	add("oci", "oci-layout", "application/json", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	main = add("oci", "index.json", "application/json", []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",`+entry+`}]}`))
	return "sha256:" + hexSum(image), main
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func writeTestFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// spy counts what is sent to the registry, and may change requests and answers.
type spy struct {
	mu        sync.Mutex
	blobBytes int64
	puts      []string // paths of manifests and blobs
	before    func(*http.Request) *http.Response
	after     func(*http.Response)
}

func (s *spy) RoundTrip(req *http.Request) (*http.Response, error) {
	if s.before != nil {
		if resp := s.before(req); resp != nil {
			resp.Request = req
			return resp, nil
		}
	}
	if req.Method == http.MethodPut || req.Method == http.MethodPatch || req.Method == http.MethodPost {
		s.mu.Lock()
		s.puts = append(s.puts, req.Method+" "+req.URL.Path)
		if strings.Contains(req.URL.Path, "/blobs/") {
			s.blobBytes += max(req.ContentLength, 0)
		}
		s.mu.Unlock()
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err == nil && s.after != nil {
		s.after(resp)
	}
	return resp, err
}

func answer(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// setBody replaces an answer's body and its length.
func setBody(resp *http.Response, body []byte) {
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
}

func readBody(t *testing.T, resp *http.Response) []byte {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	resp.Body.Close()
	return body
}

func get(t *testing.T, s *localstack.Stack, path string, v any) {
	t.Helper()
	resp, err := http.Get(s.URL + "/v2/acme/disk-images/debian-13-server/" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatal(err)
	}
}
