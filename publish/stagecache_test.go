package publish_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// machine is a build machine with a cache and a store.
type machine struct {
	*cache.Cache
	store *store.Store
}

func newMachine(t *testing.T) machine {
	t.Helper()
	dir := t.TempDir()
	c, err := cache.Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := store.Open(filepath.Join(dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return machine{c, s}
}

// put makes an entry with a file and a tree of one object, whose content is text.
func (m machine) put(t *testing.T, name, text string) *cache.Entry {
	t.Helper()
	content, size, err := m.store.Put(strings.NewReader(text))
	root := tree.New(0)
	if err == nil {
		err = root.Put("file", &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: size, Content: content})
	}
	if err != nil {
		t.Fatal(err)
	}
	e := &cache.Entry{Key: hexSum([]byte(name)), Stage: "amd64/" + name, Value: []byte(`"value"`)}
	for _, f := range []cache.File{{Name: "file"}, {Name: "tree", MediaType: cache.TreeMediaType}} {
		data := []byte(text)
		if f.MediaType != "" {
			data = root.Encode()
		}
		if f.SHA256, err = m.KeepBytes(data); err != nil {
			t.Fatal(err)
		}
		f.Size = int64(len(data))
		e.Files = append(e.Files, f)
	}
	if err := m.Put(e); err != nil {
		t.Fatal(err)
	}
	return e
}

// has checks that a machine has an entry, and what belongs to it.
func (m machine) has(t *testing.T, want *cache.Entry, text string) {
	t.Helper()
	got, err := m.Get(want.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got.Files {
		if err := m.Verify(f.SHA256, f.Size); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	data, err := m.ReadBytes(got.Files[1].SHA256, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	root, err := tree.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	n, err := root.Lookup("file")
	if err != nil || !m.store.Has(n.Inode.Content, int64(len(text))) {
		t.Errorf("the content of the tree's file is missing: %v", err)
	}
}

// stageCache is a repository of the stack, as its default identity uses it.
func stageCache(t *testing.T, s *localstack.Stack) publish.StageCache {
	p := policy(s)
	p.RequirePredicates = nil
	return publish.StageCache{Repository: s.Registry + "/acme/cache", Signer: newSigner(t, s, nil), Policy: p}
}

var cachedText = strings.Repeat("text", 1000)

// TestStageCache sends an entry and fetches it on another machine; nothing is
// sent that is there, and nothing is fetched that isn't.
func TestStageCache(t *testing.T) {
	remote := stageCache(t, startStack(t, localstack.Config{}))
	one, two := newMachine(t), newMachine(t)
	e := one.put(t, "raw", cachedText)
	if err := two.Fetch(t.Context(), remote, e.Key, two.store); !errors.Is(err, fs.ErrNotExist) || cache.IsRejected(err) {
		t.Errorf("before it is sent: %v", err)
	}
	if err := one.Send(t.Context(), remote, e, one.store, false); err != nil {
		t.Fatal(err)
	}
	if err := two.Fetch(t.Context(), remote, e.Key, two.store); err != nil {
		t.Fatal(err)
	}
	two.has(t, e, cachedText)
	again := remote
	watch := &spy{}
	again.Access.Transport = watch
	if err := one.Send(t.Context(), again, e, one.store, false); err != nil || len(watch.puts) > 0 {
		t.Errorf("what is there was sent again: %q, %v", watch.puts, err)
	}
	if err := one.Send(t.Context(), remote, e, one.store, true); err != nil {
		t.Errorf("sending it in place of itself: %v", err)
	}
}

// TestStageCacheRejects tampers with what the registry gives out. The machine's
// cache takes nothing of it.
func TestStageCacheRejects(t *testing.T) {
	s := startStack(t, localstack.Config{})
	good := stageCache(t, s)
	one := newMachine(t)
	e, other := one.put(t, "raw", cachedText), one.put(t, "iso", "other "+cachedText)
	for _, entry := range []*cache.Entry{e, other} {
		if err := one.Send(t.Context(), good, entry, one.store, false); err != nil {
			t.Fatal(err)
		}
	}
	tamper := func(change tamperer) publish.StageCache {
		c := good
		c.Access.Transport = change
		return c
	}
	stranger := good
	stranger.Policy.IdentityRegexp = regexp.QuoteMeta("https://stranger.example.org/") + "[a-z]+"
	for name, x := range map[string]struct {
		remote publish.StageCache
		want   string
	}{
		"a layer with another byte": {tamper(func(req *http.Request, resp *http.Response) {
			if strings.HasSuffix(req.URL.Path, "/blobs/sha256:"+e.Files[0].SHA256) {
				body := readBody(t, resp)
				body[len(body)/2] ^= 1
				setBody(resp, body)
			}
		}), "digest"},
		"the entry of another key": {tamper(func(req *http.Request, resp *http.Response) {
			if strings.HasSuffix(req.URL.Path, "/manifests/"+e.Key) {
				again := req.Clone(req.Context())
				again.URL.Path = strings.Replace(req.URL.Path, e.Key, other.Key, 1)
				if moved, err := http.DefaultTransport.RoundTrip(again); err == nil {
					resp.Body.Close()
					*resp = *moved
				}
			}
		}), "it is the entry of amd64/iso"},
		"no signature": {tamper(func(req *http.Request, resp *http.Response) {
			if strings.Contains(req.URL.Path, "/referrers/") {
				resp.StatusCode = http.StatusOK
				resp.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
				setBody(resp, []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`))
			}
		}), "nothing is signed"},
		"somebody else's signature": {stranger, "none of 1 bundles is a valid signature"},
	} {
		t.Run(name, func(t *testing.T) {
			two := newMachine(t)
			err := two.Fetch(t.Context(), x.remote, e.Key, two.store)
			if !cache.IsRejected(err) || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, not one about %q", err, x.want)
			}
			if two.Has(e.Key) {
				t.Error("the cache has taken it")
			}
		})
	}
}

// An artifact is signed, too, but is no result of a stage.
func TestStageCacheRejectsArtifacts(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pubs := publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s))
	remote := stageCache(t, s)
	remote.Repository = pubs.Repository
	err := remote.Pull(t.Context(), pubs.Publications[0].Tag, t.TempDir(), func(string) bool { return true })
	if !cache.IsRejected(err) || !strings.Contains(err.Error(), "no result of a stage") {
		t.Errorf("got %v", err)
	}
}

// A registry that doesn't answer says nothing about the entry.
func TestStageCacheUnreachable(t *testing.T) {
	s := startStack(t, localstack.Config{})
	remote := stageCache(t, s)
	remote.Access.Transport = tamperer(func(_ *http.Request, resp *http.Response) {
		resp.StatusCode = http.StatusForbidden
		setBody(resp, []byte("{}"))
	})
	one, two := newMachine(t), newMachine(t)
	err := two.Fetch(t.Context(), remote, hexSum(nil), two.store)
	if err == nil || cache.IsRejected(err) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	e := one.put(t, "raw", cachedText)
	if err := one.Send(t.Context(), remote, e, one.store, false); err == nil {
		t.Error("a push that was forbidden succeeded")
	}
	remote = stageCache(t, s)
	remote.Signer = nil
	if err := one.Send(t.Context(), remote, e, one.store, false); err == nil || !strings.Contains(err.Error(), "no signer") {
		t.Errorf("without a signer: %v", err)
	}
}

// TestStageCacheWithKey signs with a key, without any service.
func TestStageCacheWithKey(t *testing.T) {
	s := startStack(t, localstack.Config{})
	private, public := newKeyFiles(t)
	_, strangers := newKeyFiles(t)
	remote := publish.StageCache{Repository: s.Registry + "/acme/cache", Policy: publish.Policy{PublicKeyPath: public},
		Signer: keySigner(t, publish.SignerOptions{Key: readKey(t, private)})}
	one, two, three := newMachine(t), newMachine(t), newMachine(t)
	e := one.put(t, "raw", cachedText)
	if err := one.Send(t.Context(), remote, e, one.store, false); err != nil {
		t.Fatal(err)
	}
	if err := two.Fetch(t.Context(), remote, e.Key, two.store); err != nil {
		t.Fatal(err)
	}
	two.has(t, e, cachedText)
	remote.Policy.PublicKeyPath = strangers
	if err := three.Fetch(t.Context(), remote, e.Key, three.store); !cache.IsRejected(err) {
		t.Errorf("with another key: %v", err)
	}
}

// A signer that is trusted may still have sent nonsense.
func TestStageCacheRejectsNonsense(t *testing.T) {
	s := startStack(t, localstack.Config{})
	remote := stageCache(t, s)
	one := newMachine(t)
	e := one.put(t, "raw", cachedText)
	whole, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]map[string][]byte{
		"no entry":         {"other": whole},
		"a broken entry":   {"entry": bytes.ToUpper(whole)},
		"a missing file":   {"entry": whole},
		"another folder's": {"a/entry": whole},
	} {
		t.Run(name, func(t *testing.T) {
			var list []cache.RemoteFile
			for title, data := range files {
				path := filepath.Join(t.TempDir(), "f")
				writeTestFile(t, path, data)
				list = append(list, cache.RemoteFile{Name: title, Path: path, Size: int64(len(data)), SHA256: hexSum(data)})
			}
			if err := remote.Push(t.Context(), e.Key, list); err != nil {
				t.Fatal(err)
			}
			two := newMachine(t)
			if err := two.Fetch(t.Context(), remote, e.Key, two.store); !cache.IsRejected(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// tamperer changes answers of the default transport.
type tamperer func(req *http.Request, resp *http.Response)

func (c tamperer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err == nil {
		c(req, resp)
	}
	return resp, err
}

// newKeyFiles makes a key pair without a passphrase.
func newKeyFiles(t *testing.T) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	private, public = filepath.Join(dir, "key.pem"), filepath.Join(dir, "pub.pem")
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	known, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	writeTestFile(t, public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: known}))
	return private, public
}
