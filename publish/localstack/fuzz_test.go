package localstack

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	ct "github.com/google/certificate-transparency-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/signature"
)

func newKeyring(t testing.TB) keyring {
	t.Helper()
	state, lock, err := openState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	return keyring{state: state, now: time.Now, rand: rand.Reader}
}

func FuzzRoute(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/_catalog", "/v2/a/b/manifests/latest", "/v2/a/tags/list", "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads",
		"/v2/a/blobs/uploads/00", "/v2/a/referrers/sha256:" + strings.Repeat("0", 64), "/v2/../manifests/x", "/v2/a/_tags/manifests/t",
		"/v2/blobs/uploads/manifests/t", "/v2/blobs/uploads/blobs/uploads/1",
	} {
		f.Add(seed)
	}
	m := &manifestStore{state: "state"}
	f.Fuzz(func(t *testing.T, path string) {
		r, ok := parseRoute(path)
		if !ok || r.kind == "base" || r.kind == "catalog" {
			return
		}
		inside := filepath.Join("state", "registry", "repos") + "/"
		if !strings.HasPrefix(m.repo(r.repo), inside) || strings.Contains("/"+r.repo+"/", "/_") {
			t.Errorf("%q leaves the repositories: %q", path, r.repo)
		}
		if r.kind == "manifests" && !digestName.MatchString(r.ref) && filepath.Dir(m.repo(r.repo, "_tags", r.ref)) != m.repo(r.repo, "_tags") {
			t.Errorf("%q leaves the tags: %q", path, r.ref)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(ocispec.MediaTypeImageManifest, []byte(`{"mediaType":"`+ocispec.MediaTypeImageManifest+`","config":{"digest":"sha256:`+strings.Repeat("0", 64)+`"}}`))
	f.Add(ocispec.MediaTypeImageIndex, []byte(`{"manifests":[{"digest":"sha256:x"}],"subject":null}`))
	f.Fuzz(func(t *testing.T, contentType string, raw []byte) {
		d, err := parseManifest(contentType, raw)
		if err != nil {
			return
		}
		d.artifactType()
		for _, n := range append(d.needs(), d.Manifests...) {
			if strings.ContainsAny(string(n.Digest), "/.") {
				t.Errorf("digest %q became a path", n.Digest)
			}
		}
	})
}

func FuzzTimestampQuery(f *testing.F) {
	authority, err := loadTSA(newKeyring(f))
	if err != nil {
		f.Fatal(err)
	}
	good, err := (&timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: make([]byte, 32), Certificates: true}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	if _, err := authority.stamp(good); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("0"))
	f.Fuzz(func(t *testing.T, query []byte) {
		reply, err := authority.stamp(query)
		if err != nil {
			return
		}
		if _, err := timestamp.ParseResponse(reply); err != nil {
			t.Errorf("the reply cannot be read: %v", err)
		}
	})
}

func FuzzPreChain(f *testing.F) {
	k := newKeyring(f)
	ca, err := loadCA(k)
	if err != nil {
		f.Fatal(err)
	}
	signer, err := loadSCTSigner(k, ca.chain[0])
	if err != nil {
		f.Fatal(err)
	}
	self, err := json.Marshal(ct.AddChainRequest{Chain: [][]byte{ca.chain[0].Raw, ca.chain[0].Raw}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(self)
	f.Add([]byte(`{"chain":["AA==","AA=="]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var request ct.AddChainRequest
		if json.Unmarshal(body, &request) != nil {
			return
		}
		if _, err := signer.sign(request.Chain); err == nil && len(request.Chain) < 2 {
			t.Error("signed a chain without an issuer")
		}
	})
}

func FuzzLogEntry(f *testing.F) {
	algorithms, err := signature.NewAlgorithmRegistryConfig(clientAlgorithms())
	if err != nil {
		f.Fatal(err)
	}
	log := &rekor{algorithms: algorithms}
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"hashedRekordRequestV002":{"digest":"AAAA","signature":{"content":"AAAA","verifier":{"publicKey":{"rawBytes":"AAAA"},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		// A valid signature cannot come about by chance.
		if leaf, err := log.leaf(body); err == nil {
			t.Errorf("accepted as %q", leaf)
		}
	})
}
