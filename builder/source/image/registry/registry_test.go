package registry_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/image"
	"github.com/powernode/bootsmith/builder/source/image/registry"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/publish/localstack"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// push pushes an index with an image for each architecture and returns its
// digest.
func push(t *testing.T, repository string) v1.Hash {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, a := range arch.All() {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		must(t, w.WriteHeader(&tar.Header{Name: "etc/" + a.Name, Typeflag: tar.TypeReg, Mode: 0o644}))
		must(t, w.Close())
		img, err := mutate.AppendLayers(empty.Image, static.NewLayer(b.Bytes(), types.OCIUncompressedLayer))
		must(t, err)
		config, err := img.ConfigFile()
		must(t, err)
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", a.Name
		img, err = mutate.ConfigFile(img, config)
		must(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: a.Name}}})
	}
	ref, err := name.NewTag(repository + ":latest")
	must(t, err)
	must(t, remote.WriteIndex(ref, index))
	digest, err := index.Digest()
	must(t, err)
	return digest
}

func TestPullsByDigest(t *testing.T) {
	stack, err := localstack.Start(context.Background(), localstack.Config{Dir: t.TempDir()})
	must(t, err)
	defer stack.Close()
	repository := stack.Registry + "/acme/base"
	digest := push(t, repository)
	repo, err := registry.Open(repository, registry.Options{Keychain: authn.DefaultKeychain, Transport: http.DefaultTransport})
	must(t, err)
	s, err := store.Open(t.TempDir())
	must(t, err)
	for _, a := range arch.All() {
		i := image.Source{Blobs: repo, Digest: digest, Arch: a, Limits: source.Limits{Entries: 10, Bytes: 10}}
		pin, err := i.Pin(context.Background(), s, 0)
		must(t, err)
		root, err := i.Read(context.Background(), s, 0, pin)
		must(t, err)
		if _, err := root.Lookup("etc/" + a.Name); err != nil {
			t.Error(err)
		}
	}
	missing := image.Source{Blobs: repo, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, Arch: arch.All()[0]}
	if _, err := missing.Pin(context.Background(), s, 0); fault.ClassOf(err) != fault.Remote || !strings.Contains(err.Error(), "check the repository and the digest") {
		t.Errorf("a missing image: %v", err)
	}
}

// A registry that refuses, fails or lies is an error of its class.
func TestBadRegistries(t *testing.T) {
	for want, handler := range map[string]http.HandlerFunc{
		"log in": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"fetching": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				_, _ = w.Write([]byte("{}"))
			}
		},
	} {
		server := httptest.NewServer(handler)
		defer server.Close()
		repo, err := registry.Open(strings.TrimPrefix(server.URL, "http://")+"/base", registry.Options{Keychain: authn.DefaultKeychain, Transport: http.DefaultTransport})
		must(t, err)
		i := image.Source{Blobs: repo, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, Arch: arch.All()[0]}
		if _, err := i.Pin(context.Background(), nil, 0); fault.ClassOf(err) != fault.Remote || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v (class %d)", want, err, fault.ClassOf(err))
		}
	}
	if _, err := registry.Open("UPPER/case", registry.Options{Keychain: authn.DefaultKeychain, Transport: http.DefaultTransport}); fault.ClassOf(err) != fault.Input {
		t.Errorf("a bad name: %v", err)
	}
}

// Plain HTTP is for loopback, or asked for.
func TestPlainHTTP(t *testing.T) {
	var mu sync.Mutex // the client may ask both ways at once
	var asked []string
	record := roundTrip(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.Scheme)
		return nil, errors.New("nobody is there")
	})
	for _, plain := range []bool{false, true} {
		asked = nil
		repo, err := registry.Open("10.0.0.1:5000/base", registry.Options{Keychain: authn.DefaultKeychain, Transport: record, PlainHTTP: plain})
		must(t, err)
		if _, err := repo.Manifest(t.Context(), v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}); err == nil || slices.Contains(asked, "http") != plain {
			t.Errorf("plain HTTP %v: asked by %q, error %v", plain, asked, err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
