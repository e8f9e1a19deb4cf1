//go:build bootstrap

package builder

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/bootstrap"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// explained are the differences between the finished roots of two platforms
// with the same packages, one unpacked and one bootstrapped. A difference is a
// sign and a path: - for what only the unpacked root has, + for what only the
// other has, ~ for what both have and differs.
var explained = []struct{ pattern, why string }{
	// dpkg is essential to scripts; of two packages that meet a dependency, the
	// bootstrapped root has the essential one.
	{`\+ (?:.*\bdpkg\b.*|usr/bin/update-alternatives|usr/sbin/start-stop-daemon|usr/share/(?:dpkg|man)/.*|usr/share/(?:lintian|locale|polkit-1|man)\b.*|etc/alternatives/README|etc/logrotate\.d/(?:alternatives|dpkg)|etc/cron\.daily)`, "dpkg is essential to scripts"},
	{`- usr/share/doc/lsb-base(?:/.*)?`, "sysvinit-utils is essential and meets what lsb-base would"},
	{`[-+~] var/lib/dpkg/(?:.*)`, "dpkg's database tells that packages are unpacked, lists the kernel, and has no diversions and triggers"},
	{`\+ (?:etc/apt|var/(?:cache|lib)/apt)/.*|\+ var/(?:cache|lib)/apt`, "apt's state"},
	{`\+ var/cache/debconf/.*`, "debconf's answers; nothing was asked"},
	{`\+ var/lib/ucf/.*`, "ucf's record of configuration files"},
	{`\+ var/lib/systemd/deb-systemd-.*`, "deb-systemd-helper's record of what it enabled"},
	{`\+ var/lib/shells\.state`, "update-shells' record"},
	{`\+ etc/rc[0-9S]\.d/.*`, "links for another init"},
	{`\+ (?:etc/hosts\.(?:allow|deny)|etc/modules|etc/vconsole\.conf|usr/share/info/dir|usr/local/share/ca-certificates)`, "templates without an entry"},
	// systemd-tmpfiles makes these at every boot, from what packages ship.
	{`\+ (?:var/(?:cache|lib|log)/private|var/lib/systemd/(?:coredump|ephemeral-trees|network|pstore)|var/lib/wtmpdb(?:/wtmp\.db)?|var/log/README|var/log/apt|var/roothome/\.ssh)`, "made at every boot"},
	{`~ (?:etc/credstore(?:\.encrypted)?|var/log/journal)`, "its mode is set at every boot"},
	// The same facts, written down in another way.
	{`~ etc/(?:passwd|group|shadow|gshadow)`, "ids of system accounts are made from their names, not counted"},
	{`~ usr/(?:bin/ssh-agent|lib/dbus-1\.0/dbus-daemon-launch-helper)`, "their groups have other ids"},
	{`~ etc/ca-certificates\.conf`, "another comment"},
	{`~ etc/ld\.so\.cache`, "the name of its generator"},
	{`~ usr/lib/udev/hwdb\.bin|~ var/lib/systemd/catalog/database`, "another order of the same strings"},
	{`~ etc/systemd/system/.*`, "links to /lib instead of /usr/lib"},
}

// TestTwins bootstraps debian-13-bootstrap and compares its root with that of
// debian-13-server, whose scripts' work is done by the finishing steps.
func TestTwins(t *testing.T) {
	c := twinConfig(t)
	a, err := arch.Lookup(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	unpacked := finishedRoot(t, c, a, "debian-13-server")
	installed := finishedRoot(t, c, a, "debian-13-bootstrap")
	used := make([]bool, len(explained))
	for _, d := range differences(unpacked, installed) {
		i := slices.IndexFunc(explained, func(e struct{ pattern, why string }) bool {
			return regexp.MustCompile(`\A(?:` + e.pattern + `)\z`).MatchString(d)
		})
		if i < 0 {
			t.Errorf("not explained: %s", d)
			continue
		}
		used[i] = true
	}
	for i, ok := range used {
		if !ok {
			t.Errorf("no difference because of %q any more: %s", explained[i].why, explained[i].pattern)
		}
	}
}

// twinConfig returns a configuration with this host's archive and user cache.
func twinConfig(t *testing.T) Config {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "bootsmith")
	s, err := store.Open(filepath.Join(dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	mirror, err := apt.ChooseMirror("", os.Getenv("BOOTSMITH_DEBIAN_MIRROR"), "trixie", os.DirFS("/"))
	if err != nil {
		t.Fatal(err)
	}
	c := testConfig(t)
	c.Store = s
	c.Archive = func(f *spec.File, a arch.Arch) (Archive, error) {
		return &apt.Archive{Mirror: mirror, Suite: f.PackageArchive().Suite, Arch: a, CacheDir: dir, Client: http.DefaultClient, Now: time.Now, MaxAge: 24 * time.Hour}, nil
	}
	c.Report = func(e Event) {
		if e.State == Progress {
			t.Log(e.Detail)
		}
	}
	c.Host = bootstrap.Host{
		Root: os.DirFS("/"), UID: uint32(os.Getuid()), User: currentUser(t), Arch: runtime.GOARCH,
		SearchPath: os.Getenv("PATH"), TempDir: os.TempDir(), Now: time.Now,
	}
	return c
}

// finishedRoot returns the root of a platform of the fixtures, under a name that
// all of them share.
func finishedRoot(t *testing.T, c Config, a arch.Arch, name string) map[string]string {
	t.Helper()
	f, err := spec.Read(filepath.Join("..", "fixtures", "platforms", name))
	if err != nil {
		t.Fatal(err)
	}
	f.Name = "twin"
	p := newTestPlan(t, c, Request{File: f, Architectures: []string{a.Name}, SourceDateEpoch: "1764000000"})
	b, err := newTargetBuild(c, f, p, p.Targets[0], t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	root, err := b.readRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if root, err = b.finishRoot(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	return facts(t, root, c.Store)
}

// facts returns what a tree says of each path but times.
func facts(t *testing.T, root *tree.Tree, s *store.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := root.Walk(func(path string, n *tree.Node) error {
		i := n.Inode
		text := fmt.Sprintf("%o %d:%d %q %v %x", i.Mode, i.UID, i.GID, i.Target, i.Xattrs, i.Content.SHA256)
		if path == "etc/shells" { // of which only the set counts
			r, err := s.Open(i.Content)
			if err != nil {
				return err
			}
			defer r.Close()
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			lines := strings.Split(string(data), "\n")
			slices.Sort(lines)
			text = fmt.Sprintf("%o %q", i.Mode, lines)
		}
		all[path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func differences(unpacked, installed map[string]string) []string {
	var all []string
	for path, text := range unpacked {
		if other, ok := installed[path]; !ok {
			all = append(all, "- "+path)
		} else if other != text {
			all = append(all, "~ "+path)
		}
	}
	for path := range installed {
		if _, ok := unpacked[path]; !ok {
			all = append(all, "+ "+path)
		}
	}
	slices.Sort(all)
	return all
}

func currentUser(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}
