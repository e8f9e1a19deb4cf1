package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// publishAs publishes a small build, signed as a workflow, to a repository of its
// own, and returns its reference.
func (l *lab) publishAs(t *testing.T, w localstack.Workflow, name string) string {
	t.Helper()
	token, err := l.stack.Token(t.Context(), localstack.TokenRequest{Workflow: w})
	if err != nil {
		t.Fatal(err)
	}
	return l.publishWith(t, l.stack, token, name)
}

// publishByIssuer restarts the services with another issuer and the same keys,
// and publishes by them.
func (l *lab) publishByIssuer(t *testing.T, issuer string) string {
	t.Helper()
	s := l.copyStack(t, localstack.Config{Issuer: issuer})
	token, err := s.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l.publishWith(t, s, token, "issuer")
}

// copyStack starts services with the keys of the lab's.
func (l *lab) copyStack(t *testing.T, c localstack.Config) *localstack.Stack {
	t.Helper()
	c.Dir = t.TempDir()
	from := filepath.Dir(l.stack.TrustedRootPath)
	if err := os.CopyFS(filepath.Join(c.Dir, "keys"), os.DirFS(filepath.Join(from, "keys"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fulcio.pem", "tsa.pem"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := localstack.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (l *lab) publishWith(t *testing.T, signing *localstack.Stack, token, name string) string {
	t.Helper()
	dir := smallBuild(t, labPlatform)
	variables := map[string]string{
		"SIGSTORE_ID_TOKEN": token, cli.SigningConfigVariable: signing.SigningConfigPath, cli.TrustedRootVariable: l.stack.TrustedRootPath,
	}
	repository := fmt.Sprintf("%s/acme/%s/%x", l.stack.Registry, name, sha256.Sum256([]byte(t.Name()+token)))[:len(l.stack.Registry)+30]
	got := bootsmith(t.Context(), variables, "publish", "--output-dir", dir, "--repository", repository)
	if got.Code != cli.ExitOK {
		t.Fatalf("publish ended with %d:\n%s", got.Code, got.stderr)
	}
	pubs, err := publish.ReadPublications(dir)
	if err != nil {
		t.Fatal(err)
	}
	return pubs.Publications[0].OCIRef
}

// object is a JSON object.
type object map[string]any

func (o object) in(name string) object { return object(o[name].(map[string]any)) }

// entry returns a bundle's log entry.
func (o object) entry() object {
	return object(o.in("verificationMaterial")["tlogEntries"].([]any)[0].(map[string]any))
}

// double repeats every element of a list.
func (o object) double(name string) { o[name] = append(o[name].([]any), o[name].([]any)...) }

// bundles are those of a manifest, by the predicate type in their annotation.
type bundles map[string]object

func (b bundles) each(edit func(object)) {
	for _, o := range b {
		edit(o)
	}
}

const (
	ociManifest     = "application/vnd.oci.image.manifest.v1+json"
	predicateTypeOf = "dev.sigstore.bundle.predicateType"
)

// forge makes a manifest whose bundles are those of another, changed: the same
// manifest in another repository, or, with a note, one that differs.
func (l *lab) forge(t *testing.T, note, good string, edit func(bundles)) string {
	t.Helper()
	from, digest, _ := strings.Cut(strings.TrimPrefix(good, l.stack.Registry+"/"), "@")
	to := fmt.Sprintf("forged/%x", sha256.Sum256([]byte(t.Name())))[:20]
	raw := l.get(t, from, "manifests/"+digest)
	var m object
	unmarshal(t, raw, &m)
	for _, layer := range append(m["layers"].([]any), m["config"]) {
		l.putBlob(t, to, l.get(t, from, "blobs/"+layer.(map[string]any)["digest"].(string)))
	}
	if note != "" {
		m.in("annotations")["note"] = note
		raw = encode(t, m)
	}
	l.putManifest(t, to, raw)
	all := bundles{}
	var list struct{ Manifests []object }
	unmarshal(t, l.get(t, from, "referrers/"+digest), &list)
	for _, r := range list.Manifests {
		var referrer, bundle object
		unmarshal(t, l.get(t, from, "manifests/"+r["digest"].(string)), &referrer)
		unmarshal(t, l.get(t, from, "blobs/"+object(referrer["layers"].([]any)[0].(map[string]any))["digest"].(string)), &bundle)
		all[referrer.in("annotations")[predicateTypeOf].(string)] = bundle
	}
	if edit != nil {
		edit(all)
	}
	for kind, b := range all {
		l.attach(t, to, raw, kind, encode(t, b))
	}
	return l.stack.Registry + "/" + to + "@" + digestOf(raw)
}

// attach pushes a bundle as a referrer of a manifest.
func (l *lab) attach(t *testing.T, repository string, subject []byte, kind string, bundle []byte) {
	t.Helper()
	l.putBlob(t, repository, []byte("{}"))
	l.putBlob(t, repository, bundle)
	describe := func(mediaType string, data []byte) object {
		return object{"mediaType": mediaType, "digest": digestOf(data), "size": len(data)}
	}
	l.putManifest(t, repository, encode(t, object{
		"schemaVersion": 2, "mediaType": ociManifest, "artifactType": publish.BundleMediaType,
		"config": describe("application/vnd.oci.empty.v1+json", []byte("{}")), "layers": []any{describe(publish.BundleMediaType, bundle)},
		"subject": describe(ociManifest, subject), "annotations": object{predicateTypeOf: kind},
	}))
}

// rootWith returns a trust root that has one part from another instance.
func (l *lab) rootWith(t *testing.T, part string) string {
	t.Helper()
	other, err := localstack.Start(t.Context(), localstack.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	own, foreign := object{}, object{}
	for path, o := range map[string]*object{l.stack.TrustedRootPath: &own, other.TrustedRootPath: &foreign} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		unmarshal(t, text, o)
	}
	own[part] = foreign[part]
	path := filepath.Join(t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(path, encode(t, own), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func encode(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func unmarshal(t *testing.T, raw []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatalf("%v: %.200s", err, raw)
	}
}

func (l *lab) get(t *testing.T, repository, path string) []byte {
	t.Helper()
	return l.ask(t, http.MethodGet, repository+"/"+path, "", nil, http.StatusOK)
}

func (l *lab) putBlob(t *testing.T, repository string, data []byte) {
	t.Helper()
	l.ask(t, http.MethodPost, repository+"/blobs/uploads/?digest="+digestOf(data), "application/octet-stream", data, http.StatusCreated)
}

func (l *lab) putManifest(t *testing.T, repository string, data []byte) {
	t.Helper()
	l.ask(t, http.MethodPut, repository+"/manifests/"+digestOf(data), ociManifest, data, http.StatusCreated)
}

func (l *lab) ask(t *testing.T, method, path, mediaType string, body []byte, status int) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, l.stack.URL+"/v2/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", ociManifest)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%s %s: %s, %v: %s", method, path, resp.Status, err, answer)
	}
	return answer
}
