package apt

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/builder/tree"
)

// hosts answers requests by the archive at their host.
type hosts map[string]*apttest.Repo

func (h hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	if repo := h[r.URL.Host]; repo != nil {
		return repo.RoundTrip(r)
	}
	return apttest.Response(http.StatusNotFound, nil), nil
}

// withVendor returns an archive with a second one, which a vendor signs with a
// key of its own.
func withVendor(t *testing.T, main, vendor *apttest.Repo) *Archive {
	t.Helper()
	a := archiveOf(t, main)
	keyring := filepath.Join(t.TempDir(), "vendor.gpg")
	if err := os.WriteFile(keyring, apttest.Keyring(vendor.Key, true), 0o644); err != nil {
		t.Fatal(err)
	}
	a.Client = &http.Client{Transport: hosts{"mirror.example.org": main, "vendor.example.org": vendor}}
	a.Repositories = []Repository{{Mirror: "http://vendor.example.org/archive", Suite: vendor.Codename, Keyring: keyring}}
	return a
}

func vendorRepo(debs ...apttest.Deb) *apttest.Repo {
	repo := apttest.New()
	repo.Suite, repo.Codename, repo.Component = "vendor", "vendor", "main"
	for _, d := range debs {
		repo.Add(d)
	}
	repo.Date = repo.Date.Add(time.Minute)
	repo.Publish()
	return repo
}

func TestRepositoriesAreOneArchive(t *testing.T) {
	ctx := context.Background()
	main := packages("app 1 Depends: lib\nlib 1\nold 3\nsame 1")
	vendor := vendorRepo(
		apttest.Deb{Name: "lib", Version: "2", Files: []apttest.Member{apttest.File("./usr/lib/lib", "vendor's")}},
		apttest.Deb{Name: "old", Version: "2"}, apttest.Deb{Name: "same", Version: "1"},
		apttest.Deb{Name: "agent", Version: "1", Fields: []string{"Depends: app, lib (>= 2)"}})
	a := withVendor(t, main, vendor)
	res, err := a.Resolve(ctx, []string{"agent", "old", "same"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Package{
		"agent": {Version: "1", Repository: 1}, "app": {Version: "1"}, "lib": {Version: "2", Repository: 1},
		"old": {Version: "3"}, "same": {Version: "1"},
	}
	for _, p := range res.Packages {
		if w := want[p.Name]; w.Version != p.Version || w.Repository != p.Repository {
			t.Errorf("%s %s of repository %d, want %s of %d", p.Name, p.Version, p.Repository, w.Version, w.Repository)
		}
	}
	if len(res.Packages) != len(want) {
		t.Errorf("got %s", names(res))
	}
	if len(res.Repositories) != 1 || res.Repositories[0].Suite != "vendor" || !res.Repositories[0].Date.Equal(vendor.Date) || len(res.Repositories[0].SHA256) != 64 {
		t.Errorf("repositories %+v", res.Repositories)
	}
	if err := a.Fetch(ctx, res.Packages, nil); err != nil {
		t.Fatal(err)
	}
	main.Requests()
	vendor.Requests()
	again, err := a.Resolve(ctx, []string{"agent", "old", "same"}) // from the cache
	if err != nil || again.Packages[0] != res.Packages[0] {
		t.Errorf("%v %+v", err, again.Packages)
	}
	s, root := openStore(t), tree.New(0)
	if err := a.UnpackRoot(ctx, root, s, res.Packages, 5); err != nil {
		t.Fatal(err)
	}
	if n, err := root.Lookup("usr/lib/lib"); err != nil || n.Inode.Size != int64(len("vendor's")) {
		t.Errorf("%v: not the vendor's file", err)
	}
	asked := strings.Join(append(main.Requests(), vendor.Requests()...), " ")
	if strings.Contains(asked, "pool") || strings.Contains(asked, "Packages") {
		t.Errorf("asked for %q again", asked)
	}
}

// The main archive's mirror and keyring count for a repository without its own.
func TestRepositoryInherits(t *testing.T) {
	main := packages("app 1")
	updates := packages("app 2")
	updates.Codename, updates.Key = "test-updates", main.Key
	updates.Publish()
	for path := range map[string]bool{"dists/test-updates/InRelease": true, "dists/test-updates/main/binary-amd64/Packages.xz": true, "pool/main/app/app_2_amd64.deb": true} {
		main.SetFile(path, updates.File(path))
	}
	a := archiveOf(t, main)
	a.Repositories = []Repository{{Suite: "test-updates"}}
	res, err := a.Resolve(context.Background(), []string{"app"})
	if err != nil || res.Packages[0].Version != "2" {
		t.Fatalf("%v %+v", err, res.Packages)
	}
	if err := a.Fetch(context.Background(), res.Packages, nil); err != nil {
		t.Error(err)
	}
}

func TestRepositoryFaults(t *testing.T) {
	damaged := filepath.Join(t.TempDir(), "damaged.gpg")
	if err := os.WriteFile(damaged, []byte("no key"), 0o644); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		change func(a *Archive, vendor *apttest.Repo)
		words  []string
	}{
		{"missing keyring", func(a *Archive, _ *apttest.Repo) { a.Repositories[0].Keyring = "/no/vendor.gpg" },
			[]string{"root.bootstrap.repositories[0]", "/no/vendor.gpg", "correct root.bootstrap.repositories[0].keyring"}},
		{"damaged keyring", func(a *Archive, _ *apttest.Repo) { a.Repositories[0].Keyring = damaged },
			[]string{damaged, "correct root.bootstrap.repositories[0].keyring"}},
		{"no keyring", func(a *Archive, _ *apttest.Repo) { a.Repositories[0].Keyring = "" },
			[]string{"signed by key", "set root.bootstrap.repositories[0].keyring to the keyring of this archive"}},
		{"no suite", func(a *Archive, _ *apttest.Repo) { a.Repositories[0].Suite = "nosuch" },
			[]string{"root.bootstrap.repositories[0]: ", `"nosuch"`, "vendor.example.org"}},
		{"expired", func(_ *Archive, vendor *apttest.Repo) {
			vendor.ValidUntil = apttest.Epoch().Add(time.Minute)
			vendor.Publish()
		}, []string{"root.bootstrap.repositories[0]: ", "expired"}},
		{"no component", func(a *Archive, _ *apttest.Repo) { a.Repositories[0].Components = []string{"extra"} },
			[]string{"root.bootstrap.repositories[0]: ", `no component "extra"`}},
		{"no package in either", func(*Archive, *apttest.Repo) {}, []string{`suites "test", "vendor" for amd64`, `no package "nowhere"`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			vendor := vendorRepo(apttest.Deb{Name: "agent"})
			a := withVendor(t, packages("app 1"), vendor)
			a.Field = "root.bootstrap"
			c.change(a, vendor)
			_, err := a.Resolve(context.Background(), []string{"nowhere"})
			wantFault(t, err, fault.Input, c.words...)
		})
	}
	a := archiveOf(t, packages("app 1"))
	res, err := a.Resolve(context.Background(), []string{"app"})
	if err != nil {
		t.Fatal(err)
	}
	res.Packages[0].Repository = 3
	wantFault(t, a.Fetch(context.Background(), res.Packages, nil), fault.Input, "repository 3", "root.packages")
}

// What every system of a kind has is chosen by the fields of the index, each in
// its newest version or in the one asked for.
func TestBasePackages(t *testing.T) {
	archive := `libc 1 Essential: no
sh 1 Essential: yes; Depends: libc
sh 2 Essential: yes; Depends: libc
tar 1 Essential: yes
tar 2 Essential: yes
mount 1 Priority: required
cron 1 Priority: important
game 1 Priority: optional
app 1`
	for _, c := range []struct {
		req  Request
		want string
	}{
		{Request{Names: []string{"app"}}, "app"},
		{Request{Names: []string{"app"}, Essential: true}, "app libc sh tar"},
		{Request{Names: []string{"app"}, Priorities: []string{"required"}}, "app mount"},
		{Request{Names: []string{"tar=1"}, Essential: true, Priorities: []string{"required", "important"}}, "cron libc mount sh tar"},
	} {
		a := archiveOf(t, packages(archive))
		res, err := a.ResolveEach(context.Background(), []Request{c.req})
		if err != nil {
			t.Fatal(err)
		}
		if names(res[0]) != c.want {
			t.Errorf("%+v: got %s, want %s", c.req, names(res[0]), c.want)
		}
		for _, p := range res[0].Packages {
			if want := map[string]string{"sh": "2", "tar": "2"}[p.Name]; want != "" && want != p.Version && c.req.Names[0] != p.Name+"="+p.Version {
				t.Errorf("%s %s", p.Name, p.Version)
			}
		}
	}
}

// Ubuntu's suites are signed by Ubuntu's keyring, and so are their updates.
func TestUbuntuSuites(t *testing.T) {
	suite := func(name string) *apttest.Repo {
		repo := apttest.New()
		repo.Suite, repo.Codename, repo.Component = name, name, "main"
		return repo
	}
	noble, security := suite("noble"), suite("noble-security")
	security.Key = noble.Key
	noble.Add(apttest.Deb{Name: "bash", Version: "5.2.21-2ubuntu4", Fields: []string{"Essential: yes"}})
	security.Add(apttest.Deb{Name: "bash", Version: "5.2.21-2ubuntu4.1", Fields: []string{"Essential: yes"}})
	noble.Publish()
	security.Publish()
	a := archiveOf(t, noble)
	a.Client = &http.Client{Transport: hosts{"mirror.example.org": noble, "security.example.org": security}}
	a.Repositories = []Repository{{Mirror: "http://security.example.org/archive", Suite: "noble-security"}}
	all, err := a.ResolveEach(context.Background(), []Request{{Essential: true}})
	if err != nil {
		t.Fatal(err)
	}
	if p := all[0].Packages; len(p) != 1 || p[0].Version != "5.2.21-2ubuntu4.1" || p[0].Repository != 1 {
		t.Errorf("chose %+v", p)
	}
	if r := all[0].Repositories; len(r) != 1 || r[0].Suite != "noble-security" {
		t.Errorf("repositories %+v", r)
	}
	for suite, want := range map[string]string{"noble-security": "ubuntu", "jammy": "ubuntu", "trixie-security": "debian", "stable": "debian"} {
		if got := DefaultKeyring(suite); got != "/usr/share/keyrings/"+want+"-archive-keyring.gpg" {
			t.Errorf("the keyring of %s is %s", suite, got)
		}
	}
}
