package apt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// archiveOf returns an archive that reads repo, with an empty cache.
func archiveOf(t testing.TB, repo *apttest.Repo) *Archive {
	t.Helper()
	dir := t.TempDir()
	keyring := filepath.Join(dir, "keyring.gpg")
	if err := os.WriteFile(keyring, apttest.Keyring(repo.Key, false), 0o644); err != nil {
		t.Fatal(err)
	}
	row, err := arch.Lookup("amd64")
	if err != nil {
		t.Fatal(err)
	}
	return &Archive{
		Mirror: "http://mirror.example.org/archive", Suite: repo.Codename, Keyring: keyring, Arch: row,
		CacheDir: filepath.Join(dir, "cache"), Client: &http.Client{Transport: repo},
		Now: func() time.Time { return apttest.Epoch().Add(time.Hour) }, Backoff: time.Microsecond,
	}
}

func simpleRepo() *apttest.Repo {
	repo := apttest.New()
	repo.Add(apttest.Deb{Name: "app", Fields: []string{"Depends: lib (>= 1.0)"}, Files: []apttest.Member{apttest.File("./usr/bin/app", strings.Repeat("app ", 100))}})
	repo.Add(apttest.Deb{Name: "lib", Arch: "all", Files: []apttest.Member{apttest.File("./usr/lib/lib", strings.Repeat("lib ", 100))}})
	repo.Publish()
	return repo
}

func names(r Resolution) string {
	var all []string
	for _, p := range r.Packages {
		all = append(all, p.Name)
	}
	return strings.Join(all, " ")
}

func openStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantFault checks an error's class and that it says what it should.
func wantFault(t *testing.T, err error, class fault.Class, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if got := fault.ClassOf(err); got != class {
		t.Errorf("class %d, want %d: %v", got, class, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error doesn't say %q: %v", w, err)
		}
	}
}

func TestResolveFetchUnpack(t *testing.T) {
	ctx := context.Background()
	for _, byHash := range []bool{false, true} {
		repo := simpleRepo()
		repo.ByHash = byHash
		repo.Publish()
		a := archiveOf(t, repo)
		res, err := a.Resolve(ctx, []string{"app"})
		if err != nil {
			t.Fatal(err)
		}
		if names(res) != "app lib" || !res.ReleaseDate.Equal(apttest.Epoch()) || len(res.ReleaseSHA256) != 64 {
			t.Errorf("%+v", res)
		}
		var done, total int64
		if err := a.Fetch(ctx, res.Packages, func(d, n int64) { done, total = d, n }); err != nil {
			t.Fatal(err)
		}
		if want := res.Packages[0].Size + res.Packages[1].Size; done != want || total != want {
			t.Errorf("progress ends with %d of %d; want %d", done, total, want)
		}
		s, tr := openStore(t), tree.New(0)
		if err := a.UnpackRoot(ctx, tr, s, res.Packages, 5); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"usr/bin/app", "usr/lib/lib", "var/lib/dpkg/status", "var/lib/dpkg/info/app.list"} {
			if _, err := tr.Lookup(path); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestWarmRunsNeedNothing(t *testing.T) {
	ctx := context.Background()
	repo := simpleRepo()
	a := archiveOf(t, repo)
	a.MaxAge = 2 * time.Hour
	s := openStore(t)
	first, err := a.Resolve(ctx, []string{"app"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.UnpackAll(ctx, s, first.Packages); err != nil {
		t.Fatal(err)
	}
	repo.Requests()
	second, err := a.Resolve(ctx, []string{"app"})
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Fatalf("%v: %+v", err, second)
	}
	// Without the .deb files: listing and store are enough.
	if err := os.RemoveAll(filepath.Join(a.CacheDir, "sha256")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.UnpackAll(ctx, s, second.Packages); err != nil {
		t.Fatal(err)
	}
	if got := repo.Requests(); len(got) != 0 {
		t.Errorf("warm run asked for %q", got)
	}
	// Another store lacks the contents: the files are fetched again.
	if _, err := a.UnpackAll(ctx, openStore(t), second.Packages); err != nil {
		t.Fatal(err)
	}
	if got := repo.Requests(); len(got) != 2 {
		t.Errorf("asked for %q", got)
	}
}

func TestReleaseAge(t *testing.T) {
	repo := simpleRepo()
	a := archiveOf(t, repo)
	now := apttest.Epoch().Add(time.Hour)
	a.Now, a.MaxAge = func() time.Time { return now }, time.Hour
	for _, step := range []struct {
		advance time.Duration
		asks    int
	}{{0, 2}, {59 * time.Minute, 0}, {2 * time.Minute, 1}, {-90 * time.Minute, 1}} {
		now = now.Add(step.advance)
		if _, err := a.Resolve(context.Background(), []string{"app"}); err != nil {
			t.Fatal(err)
		}
		if got := repo.Requests(); len(got) != step.asks {
			t.Errorf("after %s: asked for %q", step.advance, got)
		}
	}
}

func TestOffline(t *testing.T) {
	ctx := context.Background()
	repo := simpleRepo()
	a := archiveOf(t, repo)
	a.Offline = true
	_, err := a.Resolve(ctx, []string{"app"})
	wantFault(t, err, fault.Input, "offline")
	a.Offline = false
	res, err := a.Resolve(ctx, []string{"app"})
	if err != nil {
		t.Fatal(err)
	}
	a.Offline = true
	wantFault(t, a.Fetch(ctx, res.Packages, nil), fault.Input, "offline", "pool/main")
	a.Offline = false
	if err := a.Fetch(ctx, res.Packages, nil); err != nil {
		t.Fatal(err)
	}
	a.Offline = true
	repo.Requests()
	if res, err = a.Resolve(ctx, []string{"lib"}); err != nil {
		t.Fatal(err)
	}
	if err := a.UnpackRoot(ctx, tree.New(0), openStore(t), res.Packages, 0); err != nil {
		t.Fatal(err)
	}
	if got := repo.Requests(); len(got) != 0 {
		t.Errorf("offline, yet asked for %q", got)
	}
}

func TestDamagedCacheHeals(t *testing.T) {
	ctx := context.Background()
	repo := simpleRepo()
	a := archiveOf(t, repo)
	a.MaxAge = 2 * time.Hour
	first, err := a.Resolve(ctx, []string{"app"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Fetch(ctx, first.Packages, nil); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(a.CacheDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		data[len(data)/2] ^= 1
		return os.WriteFile(path, data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	offline := *a
	offline.Offline = true
	_, err = offline.Unpack(ctx, openStore(t), first.Packages[1])
	wantFault(t, err, fault.Input, "offline")
	second, err := a.Resolve(ctx, []string{"app"})
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Fatalf("%v: %+v", err, second)
	}
	if err := a.UnpackRoot(ctx, tree.New(0), openStore(t), second.Packages, 0); err != nil {
		t.Fatal(err)
	}
}

func TestReleaseFaults(t *testing.T) {
	cases := []struct {
		name  string
		set   func(*apttest.Repo, *Archive)
		class fault.Class
		words []string
	}{
		{"unknown suite", func(_ *apttest.Repo, a *Archive) { a.Suite = "nosuch" }, fault.Input, []string{`"nosuch"`, "not found"}},
		{"suite with ..", func(_ *apttest.Repo, a *Archive) { a.Suite = "../x" }, fault.Input, []string{"not a suite"}},
		{"other suite served", func(r *apttest.Repo, a *Archive) {
			r.SetFile("dists/sid/InRelease", r.File("dists/test/InRelease"))
			a.Suite = "sid"
		}, fault.Input, []string{`"stable"`, `"test"`}},
		{"wrong keyring", func(r *apttest.Repo, a *Archive) {
			must(os.WriteFile(a.Keyring, apttest.Keyring(apttest.NewKey(), true), 0o644))
		}, fault.Input, []string{"signed by key", a0keyring}},
		{"no keyring", func(_ *apttest.Repo, a *Archive) { a.Keyring += ".missing" }, fault.Input, []string{"keyring"}},
		{"empty keyring", func(_ *apttest.Repo, a *Archive) { must(os.WriteFile(a.Keyring, nil, 0o644)) }, fault.Input, []string{"keyring"}},
		{"flipped text", func(r *apttest.Repo, _ *Archive) {
			r.SetFile("dists/test/InRelease", bytes.Replace(r.File("dists/test/InRelease"), []byte("Origin: Test"), []byte("Origin: Tent"), 1))
		}, fault.Input, []string{"no valid signature"}},
		{"text after", func(r *apttest.Repo, _ *Archive) {
			r.SetFile("dists/test/InRelease", append(r.File("dists/test/InRelease"), "Suite: x\n"...))
		}, fault.Input, []string{"not signed"}},
		{"text before", func(r *apttest.Repo, _ *Archive) {
			r.SetFile("dists/test/InRelease", append([]byte("Suite: x\n"), r.File("dists/test/InRelease")...))
		}, fault.Input, []string{"clear-signed"}},
		{"a web page", func(r *apttest.Repo, _ *Archive) { r.SetFile("dists/test/InRelease", []byte("<html>")) }, fault.Input, []string{"clear-signed"}},
		{"expired", func(r *apttest.Repo, _ *Archive) { r.ValidUntil = apttest.Epoch().Add(time.Minute); r.Publish() }, fault.Input, []string{"expired"}},
		{"from the future", func(r *apttest.Repo, _ *Archive) { r.Date = apttest.Epoch().Add(72 * time.Hour); r.Publish() }, fault.Input, []string{"future"}},
		{"architecture", func(r *apttest.Repo, _ *Archive) { r.Architectures = []string{"riscv64"}; r.Publish() }, fault.Input, []string{`"amd64"`, "riscv64"}},
		{"component", func(_ *apttest.Repo, a *Archive) { a.Components = []string{"universe"} }, fault.Input, []string{`"universe"`, "main"}},
		{"mirror", func(_ *apttest.Repo, a *Archive) { a.Mirror = "ftp://x" }, fault.Input, []string{"ftp"}},
		{"lying index", func(r *apttest.Repo, _ *Archive) { r.MapIndex = flip; r.Publish() }, fault.Build, []string{"SHA-256"}},
		{"short index", func(r *apttest.Repo, _ *Archive) { r.MapIndex = cut; r.Publish() }, fault.Build, []string{"size"}},
		{"long index", func(r *apttest.Repo, _ *Archive) {
			r.MapIndex = func(b []byte) []byte { return append(b, 0) }
			r.Publish()
		}, fault.Build, []string{"size"}},
		{"missing index", func(r *apttest.Repo, _ *Archive) { r.ByHash = true; r.Publish(); r.ByHash = false; dropHashes(r) }, fault.Build, []string{"404"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			repo := simpleRepo()
			a := archiveOf(t, repo)
			c.set(repo, a)
			_, err := a.Resolve(context.Background(), []string{"app"})
			wantFault(t, err, c.class, c.words...)
		})
	}
}

const a0keyring = "keyring.gpg"

func flip(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b }
func cut(b []byte) []byte  { return b[:len(b)-1] }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// dropHashes makes every index a 404.
func dropHashes(r *apttest.Repo) {
	r.Fail = func(path string) *http.Response {
		if strings.Contains(path, "Packages") || strings.Contains(path, "by-hash") {
			return apttest.Response(http.StatusNotFound, nil)
		}
		return nil
	}
}

func TestMissingDefaultKeyringIsATool(t *testing.T) {
	_, err := readKeyring(filepath.Join(t.TempDir(), "x.gpg"), "some-keyring")
	wantFault(t, err, fault.Tool, "x.gpg", "install the package some-keyring")
}

func TestPackageFaults(t *testing.T) {
	ctx := context.Background()
	repo := simpleRepo()
	path := repo.Add(apttest.Deb{Name: "solo", Files: []apttest.Member{apttest.File("./x", "x")}})
	repo.Publish()
	good := repo.File(path)
	a := archiveOf(t, repo)
	res, err := a.Resolve(ctx, []string{"solo"})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"flipped": flip(good), "short": cut(good), "long": append(bytes.Clone(good), 0), "empty": {}} {
		repo.SetFile(path, data)
		t.Run(name, func(t *testing.T) {
			wantFault(t, a.Fetch(ctx, res.Packages, nil), fault.Build, `"solo"`, "SHA-256")
			wantFault(t, a.UnpackInto(ctx, tree.New(0), openStore(t), res.Packages[0]), fault.Build, `"solo"`)
		})
	}
	repo.SetFile(path, good)
	for name, p := range map[string]Package{
		"path":    {Name: "solo", Version: "1.0", Arch: "amd64", Size: 1, SHA256: strings.Repeat("0", 64), PoolPath: "../../etc/passwd"},
		"digest":  {Name: "solo", Version: "1.0", Arch: "amd64", Size: 1, SHA256: "../../x", PoolPath: "pool/x"},
		"version": {Name: "solo", Version: "", Arch: "amd64", Size: 1, SHA256: strings.Repeat("0", 64), PoolPath: "pool/x"},
	} {
		t.Run(name, func(t *testing.T) { wantFault(t, a.Fetch(ctx, []Package{p}, nil), fault.Input) })
	}
	other := res.Packages[0]
	other.Version = "2.0"
	if _, err := a.Unpack(ctx, openStore(t), other); err == nil || !strings.Contains(err.Error(), "2.0") {
		t.Errorf("a file that holds another version: %v", err)
	}
}

func TestRetries(t *testing.T) {
	failures := 0
	repo := simpleRepo()
	repo.Fail = func(string) *http.Response {
		failures++
		switch failures {
		case 1:
			return apttest.Response(http.StatusBadGateway, nil)
		case 2:
			resp := apttest.Response(http.StatusOK, nil)
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("-----BEGIN"), brokenReader{}))
			return resp
		}
		return nil
	}
	a := archiveOf(t, repo)
	if _, err := a.Resolve(context.Background(), []string{"app"}); err != nil {
		t.Fatal(err)
	}
	repo.Fail = func(string) *http.Response { return apttest.Response(http.StatusServiceUnavailable, nil) }
	repo.Requests()
	if _, err := a.Resolve(context.Background(), []string{"app"}); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "; check the network and the mirror") {
		t.Errorf("%v", err)
	}
	if got := repo.Requests(); len(got) != attempts {
		t.Errorf("%d attempts", len(got))
	}
	repo.Fail = func(string) *http.Response { return apttest.Response(http.StatusForbidden, nil) }
	if _, err := a.Resolve(context.Background(), []string{"app"}); err == nil || len(repo.Requests()) != 1 {
		t.Errorf("403 was tried again, or no error: %v", err)
	}
	repo.Fail = nil
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.Resolve(ctx, []string{"app"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestFileMirror(t *testing.T) {
	repo := simpleRepo()
	dir := t.TempDir()
	a := archiveOf(t, repo)
	res, err := a.Resolve(context.Background(), []string{"app"})
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"dists/test/InRelease", "dists/test/main/binary-amd64/Packages.xz"}
	for _, p := range res.Packages {
		paths = append(paths, p.PoolPath)
	}
	for _, p := range paths {
		name := filepath.Join(dir, p)
		must(os.MkdirAll(filepath.Dir(name), 0o755))
		must(os.WriteFile(name, repo.File(p), 0o644))
	}
	a.Mirror, a.CacheDir, a.Client = "file://"+dir, filepath.Join(dir, "cache"), nil
	if res, err = a.Resolve(context.Background(), []string{"app"}); err != nil {
		t.Fatal(err)
	}
	if err := a.Fetch(context.Background(), res.Packages, nil); err != nil {
		t.Fatal(err)
	}
	a.Suite = "nosuch"
	_, err = a.Resolve(context.Background(), []string{"app"})
	wantFault(t, err, fault.Input, "not found")
}
