package apt

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/builder/source/deb"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

func tool(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package %s", name, debian)
	}
	return path
}

// TestRealArchive reads the archive that this host is installed from.
func TestRealArchive(t *testing.T) {
	if testing.Short() {
		return // the only test that needs the network
	}
	mirror, err := HostMirror(os.DirFS("/"), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range arch.All() {
		t.Run(row.Name, func(t *testing.T) {
			a := &Archive{Mirror: mirror, Suite: "trixie", Arch: row, CacheDir: t.TempDir(), Client: &http.Client{}, Now: time.Now}
			ctx := context.Background()
			res, err := a.Resolve(ctx, []string{"base-files", "busybox-static"})
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Fetch(ctx, res.Packages, nil); err != nil {
				t.Fatal(err)
			}
			s := openStore(t)
			for _, p := range res.Packages {
				compareWithDpkg(t, a, s, p)
			}
			tr := tree.New(0)
			if err := a.UnpackRoot(ctx, tr, s, res.Packages, res.ReleaseDate.Unix()); err != nil {
				t.Fatal(err)
			}
			checkDatabase(t, tr, s, res.Packages)
		})
	}
}

// compareWithDpkg compares a package's listing with dpkg-deb's.
func compareWithDpkg(t *testing.T, a *Archive, s *store.Store, p Package) {
	t.Helper()
	tr := tree.New(0)
	if err := a.UnpackInto(context.Background(), tr, s, p); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool(t, "dpkg-deb", "dpkg"), "--fsys-tarfile", a.blobFile(p.blob()))
	archive, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command(tool(t, "tar", "tar"), "--numeric-owner", "--utc", "--full-time", "-tvf", "-")
	list.Stdin = bytes.NewReader(archive)
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		path := strings.Trim(strings.TrimPrefix(f[5], "."), "/")
		if path != "" && f[0][0] != 'h' {
			want = append(want, strings.Join(append([]string{f[0], f[1], f[2], f[3], f[4], path}, f[6:]...), " "))
		}
	}
	links := map[*tree.Inode]bool{} // a hard link is listed once by each side
	var got []string
	err = tr.Walk(func(path string, n *tree.Node) error {
		if path != "" && !links[n.Inode] {
			got = append(got, tarLine(path, n.Inode))
		}
		links[n.Inode] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", p.Name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// tarLine prints an inode as `tar -tv` does.
func tarLine(path string, n *tree.Inode) string {
	kinds := map[uint32]string{tree.TypeDir: "d", tree.TypeSymlink: "l", tree.TypeRegular: "-"}
	mode := []byte(kinds[n.Type()] + "rwxrwxrwx")
	for i := range 9 {
		if n.Mode&(0o400>>i) == 0 {
			mode[i+1] = '-'
		}
	}
	for i, c := range []byte("sst") {
		if at := 3 * (i + 1); n.Mode&(0o4000>>i) != 0 {
			if mode[at] == '-' {
				c -= 'a' - 'A'
			}
			mode[at] = c
		}
	}
	line := fmt.Sprintf("%s %d/%d %d %s %s", mode, n.UID, n.GID, n.Size, time.Unix(n.Mtime, 0).UTC().Format(time.DateTime), path)
	if n.IsSymlink() {
		line += " -> " + n.Target
	}
	return line
}

// checkDatabase writes dpkg's database to disk and asks dpkg about it.
func checkDatabase(t *testing.T, tr *tree.Tree, s *store.Store, packages []Package) {
	t.Helper()
	root := t.TempDir()
	dir, err := tr.Lookup("var/lib/dpkg")
	if err != nil {
		t.Fatal(err)
	}
	writeOut(t, s, dir, root)
	out, err := exec.Command(tool(t, "dpkg-query", "dpkg"), "--admindir="+root, "-W", "-f", "${Package} ${Version} ${Architecture} ${Status}\n").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := ""
	for _, p := range packages {
		want += fmt.Sprintf("%s %s %s install ok unpacked\n", p.Name, p.Version, p.Arch)
	}
	if string(out) != want {
		t.Errorf("dpkg-query says\n%swant\n%s", out, want)
	}
	for _, p := range packages {
		out, err := exec.Command("dpkg-query", "--admindir="+root, "-L", p.Name+":"+p.Arch).CombinedOutput()
		if p.Arch == "all" {
			out, err = exec.Command("dpkg-query", "--admindir="+root, "-L", p.Name).CombinedOutput()
		}
		if err != nil || !strings.HasPrefix(string(out), "/.\n/") {
			t.Errorf("dpkg-query -L %s: %v: %.200s", p.Name, err, out)
		}
	}
}

func writeOut(t *testing.T, s *store.Store, n *tree.Node, to string) {
	t.Helper()
	for _, c := range n.Children() {
		name := filepath.Join(to, c.Name)
		if c.Inode.IsDir() {
			if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
			writeOut(t, s, c, name)
			continue
		}
		r, err := s.Open(c.Inode.Content)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if err := os.WriteFile(name, b.Bytes(), os.FileMode(c.Inode.Mode&0o777)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDatabase(t *testing.T) {
	repo := apttest.New()
	repo.Add(apttest.Deb{Name: "conf", Fields: []string{"Multi-Arch: same"},
		Scripts: map[string]string{"conffiles": "/etc/conf\n", "postinst": "#!/bin/sh\n"},
		Files:   []apttest.Member{apttest.File("./", ""), apttest.File("./etc/", ""), apttest.File("./etc/conf", "hello\n")}})
	repo.Publish()
	a, s, tr := archiveOf(t, repo), openStore(t), tree.New(0)
	res, err := a.Resolve(context.Background(), []string{"conf"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.UnpackRoot(context.Background(), tr, s, res.Packages, 77); err != nil {
		t.Fatal(err)
	}
	checkDatabase(t, tr, s, res.Packages)
	for path, want := range map[string]string{
		"status": "Package: conf\nStatus: install ok unpacked\nVersion: 1.0\nArchitecture: amd64\nMaintainer: Test <test@example.org>\nMulti-Arch: same\n" +
			"Conffiles:\n /etc/conf b1946ac92492d2347c6235b4d2611184\nDescription: a test\n more of it\n\n",
		"info/conf:amd64.list":      "/.\n/etc\n/etc/conf\n",
		"info/conf:amd64.md5sums":   "b1946ac92492d2347c6235b4d2611184  etc/conf\n",
		"info/conf:amd64.postinst":  "#!/bin/sh\n",
		"info/conf:amd64.conffiles": "/etc/conf\n",
		"info/format":               "1\n",
	} {
		n, err := tr.Lookup("var/lib/dpkg/" + path)
		if err != nil {
			t.Error(err)
			continue
		}
		r, err := s.Open(n.Inode.Content)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil || b.String() != want || n.Inode.Mtime != 77 {
			t.Errorf("%s: %v\n%s", path, err, b.String())
		}
		r.Close()
	}
}

func TestOverlaps(t *testing.T) {
	file := func(name, data string, fields ...string) apttest.Deb {
		return apttest.Deb{Name: name, Fields: fields, Files: []apttest.Member{apttest.File("./usr/x", data)}}
	}
	cases := []struct {
		name string
		debs []apttest.Deb
		size int64 // of usr/x; 0: an error
	}{
		{"no Replaces", []apttest.Deb{file("a", "1"), file("b", "22")}, 0},
		{"later replaces", []apttest.Deb{file("a", "1"), file("b", "22", "Replaces: a (<= 1.0)")}, 2},
		{"earlier replaces", []apttest.Deb{file("a", "1", "Replaces: b"), file("b", "22")}, 1},
		{"replaces another version", []apttest.Deb{file("a", "1"), file("b", "22", "Replaces: a (<< 1.0)")}, 0},
	}
	for _, c := range cases {
		repo := apttest.New()
		for _, d := range c.debs {
			repo.Add(d)
		}
		repo.Publish()
		a, tr := archiveOf(t, repo), tree.New(0)
		res, err := a.Resolve(context.Background(), []string{"a", "b"})
		if err != nil {
			t.Fatal(err)
		}
		err = a.UnpackRoot(context.Background(), tr, openStore(t), res.Packages, 0)
		n, _ := tr.Lookup("usr/x")
		if (err != nil) != (c.size == 0) || err == nil && n.Inode.Size != c.size {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// BenchmarkIndex reads an index of 60,000 packages; HeapMB is what it keeps.
func BenchmarkIndex(b *testing.B) {
	var text bytes.Buffer
	for i := range 60_000 {
		fmt.Fprintf(&text, "Package: package-%d\nVersion: 1.%d-1\nInstalled-Size: 100\nMaintainer: Somebody <somebody@example.org>\nArchitecture: amd64\n"+
			"Depends: libc6 (>= 2.38), package-%d | package-%d, libstdc++6 (>= 13.1)\nDescription: something\nDescription-md5: %032d\nHomepage: https://www.example.org/%d\n"+
			"Tag: implemented-in::c, role::program, interface::commandline, scope::utility, use::checking, works-with::file\nSection: misc\nPriority: optional\n"+
			"Filename: pool/main/p/package-%d/package-%d_1.%d-1_amd64.deb\nSize: 1000\nMD5sum: %032d\nSHA256: %064d\n\n", i, i, i/2, i/3, i, i, i, i, i, i, i)
	}
	data := text.Bytes()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		ix := &index{byName: map[string]*entry{}}
		if err := ix.read(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(ix)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "HeapMB")
}

// BenchmarkReplay lays a package of 5,000 files into a tree from its listing.
func BenchmarkReplay(b *testing.B) {
	d := apttest.Deb{Name: "many"}
	for i := range 5000 {
		d.Files = append(d.Files, apttest.File(fmt.Sprintf("./usr/file-%d", i), strings.Repeat(fmt.Sprint(i), 50)))
	}
	repo := apttest.New()
	repo.Add(d)
	repo.Publish()
	a, s := archiveOf(b, repo), openStore(b)
	res, err := a.Resolve(context.Background(), []string{"many"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var p *deb.Package
		if p, err = a.Unpack(context.Background(), s, res.Packages[0]); err == nil {
			err = p.Apply(tree.New(0), nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func TestUsrIsMerged(t *testing.T) {
	old := []apttest.Deb{
		{Name: "base-files", Files: []apttest.Member{apttest.File("./bin/", ""), apttest.File("./usr/", ""), apttest.File("./usr/bin/", "")}},
		{Name: "tool", Files: []apttest.Member{apttest.File("./bin/", ""), apttest.File("./bin/tool", "x"), apttest.File("./lib64/", ""), apttest.File("./lib64/ld.so", "x")}},
	}
	for _, debs := range [][]apttest.Deb{old, old[1:]} {
		repo := apttest.New()
		for _, d := range debs {
			repo.Add(d)
		}
		repo.Publish()
		a, tr := archiveOf(t, repo), tree.New(0)
		ask := []string{"tool"}
		if len(debs) == 2 {
			ask = append(ask, "base-files")
		}
		res, err := a.Resolve(context.Background(), ask)
		if err == nil {
			err = a.UnpackRoot(context.Background(), tr, openStore(t), res.Packages, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"bin/tool", "lib64/ld.so"} {
			if _, err := tr.Lookup(path); err != nil {
				t.Error(err)
			}
			if _, err := tr.Lookup("usr/" + path); (err == nil) != (len(debs) == 2) {
				t.Errorf("usr/%s: %v", path, err)
			}
		}
	}
}
