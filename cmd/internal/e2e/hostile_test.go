package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// hostile is a definition, by the folder that it is in, whose root is bad.
type hostile struct {
	// root is the definition from its field root on.
	root string
	// make makes what the definition names.
	make  func(t *testing.T, dir string)
	code  int
	words []string
}

// TestHostileSources builds from sources that attack the host, that were
// damaged, or that can't boot: each is one line, and nothing is left behind.
func TestHostileSources(t *testing.T) {
	for name, x := range hostileSources() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, cache := t.TempDir(), t.TempDir()
			x.make(t, dir)
			writeFile(t, filepath.Join(dir, "platform.yaml"), "name: hostile\narchitectures: [amd64]\n"+x.root+"\n", 0o644)
			output, check := outputWithBuild(t)
			got := bootsmith(t.Context(), map[string]string{"SOURCE_DATE_EPOCH": "1700000000", "PATH": os.Getenv("PATH"), "BOOTSMITH_WEBHOOK_SECRET": "secret"},
				"build", "--file", dir, "--output-dir", output, "--cache-dir", cache)
			wantFailure(t, got, x.code, x.words...)
			check()
			checkCache(t, cache)
		})
	}
}

// checkCache looks for files that a build didn't finish.
func checkCache(t *testing.T, cache string) {
	t.Helper()
	paths, err := listFiles(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if name := filepath.Base(path); strings.HasPrefix(name, ".fetch-") || strings.HasPrefix(name, ".new-") || strings.HasPrefix(path, "objects/tmp/") {
			t.Errorf("the cache holds %s", path)
		}
	}
}

const (
	fromArchive   = "root: {archive: {path: root.tar}, limits: {size: 1MiB, files: 100}}"
	fromDirectory = "root: {directory: {path: root}, limits: {size: 1MiB, files: 100}}"
	fromScript    = "root: {script: {path: build.sh, timeout: 2s}, limits: {size: 1MiB, files: 100}}"
)

func hostileSources() map[string]hostile {
	file := func(name string) apttest.Member { return apttest.File(name, "x") }
	link := func(kind byte, name, target string) apttest.Member {
		return apttest.Member{Header: tar.Header{Name: name, Typeflag: kind, Linkname: target}}
	}
	devices := make([]apttest.Member, 200)
	for i := range devices {
		devices[i].Header = tar.Header{Name: fmt.Sprintf("dev/%d", i), Typeflag: tar.TypeBlock, Devmajor: 8, Devminor: int64(i)}
	}
	good := apttest.Tar(append(apttest.Bootable(), file("etc/a"), apttest.File("etc/b", strings.Repeat("b", 3000))))
	bomb := apttest.Tar([]apttest.Member{apttest.File("zeros", string(make([]byte, 8<<20)))})
	rebuild := "make the archive again, or correct root.archive.path"
	return map[string]hostile{
		"parent path":             {fromArchive, tarOf(file("a/../../x")), cli.ExitInput, []string{"root.tar", `"a/../../x" leaves the archive`, rebuild}},
		"absolute path":           {fromArchive, tarOf(file("/etc/x")), cli.ExitInput, []string{"root.tar", `"/etc/x" leaves the archive`, rebuild}},
		"hard link to the parent": {fromArchive, tarOf(link(tar.TypeLink, "a", "../../etc/shadow")), cli.ExitInput, []string{"root.tar", "leaves the archive", rebuild}},
		"symlinks in a circle":    {fromArchive, tarOf(link(tar.TypeSymlink, "a", "b"), link(tar.TypeSymlink, "b", "a"), file("a/x")), cli.ExitInput, []string{"root.tar", "too many symbolic links", rebuild}},
		"file below a file":       {fromArchive, tarOf(file("a"), file("a/b")), cli.ExitInput, []string{"root.tar", `"a" is not a directory`}},
		"device flood":            {fromArchive, tarOf(devices...), cli.ExitInput, []string{"root.tar", "exceeds 100 entries", "raise root.limits"}},
		"bomb":                    {fromArchive, bytesAs("root.tar", zip(bomb)), cli.ExitInput, []string{"root.tar", "exceeds 100 entries or 1048576 bytes", "raise root.limits"}},
		"cut tar":                 {fromArchive, bytesAs("root.tar", good[:len(good)-2000]), cli.ExitInput, []string{"root.tar", "unexpected EOF", rebuild}},
		"cut gzip":                {fromArchive, bytesAs("root.tar", half(zip(good))), cli.ExitInput, []string{"root.tar", "unexpected EOF", rebuild}},
		"cut xz":                  {fromArchive, cutBy("xz", "xz-utils", good), cli.ExitInput, []string{"root.tar", "unexpected EOF", rebuild}},
		"cut zstd":                {fromArchive, cutBy("zstd", "zstd", good), cli.ExitInput, []string{"root.tar", "unexpected EOF", rebuild}},
		"another archive": {"root: {archive: {path: root.tar, sha256: \"" + strings.Repeat("0", 64) + "\"}}", bytesAs("root.tar", good), cli.ExitInput,
			[]string{"root.tar", "its SHA-256 is", "correct root.archive.sha256"}},
		"no archive": {fromArchive, func(*testing.T, string) {}, cli.ExitInput, []string{"root.tar", "no such file", "correct root.archive.path"}},

		"socket in a folder": {fromDirectory, func(t *testing.T, dir string) {
			makeDir(t, filepath.Join(dir, "root"))
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "root/s")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, cli.ExitInput, []string{`"s" is a socket`, "remove it"}},
		"large folder": {fromDirectory, func(t *testing.T, dir string) {
			makeDir(t, filepath.Join(dir, "root"))
			writeFile(t, filepath.Join(dir, "root/sparse"), "", 0o644)
			if err := os.Truncate(filepath.Join(dir, "root/sparse"), 1<<40); err != nil {
				t.Fatal(err)
			}
		}, cli.ExitInput, []string{`"sparse"`, "1048576 bytes", "raise root.limits"}},
		"owner of nothing": {"root: {directory: {path: root, owners: [{path: /nowhere, owner: 5}]}}", func(t *testing.T, dir string) { makeDir(t, filepath.Join(dir, "root")) },
			cli.ExitInput, []string{`"/nowhere"`, "name a path that the folder has"}},

		"failing script":   {fromScript, scriptOf("echo no space >&2; exit 3"), cli.ExitBuild, []string{"build.sh", "exit status 3", "no space"}},
		"endless script":   {fromScript, scriptOf("sleep 300 & exec sleep 300"), cli.ExitBuild, []string{"build.sh", "took longer than 2s", "raise root.script.timeout"}},
		"escaping script":  {fromScript, scriptOf("tar -P -c /etc/hostname >&3"), cli.ExitBuild, []string{"build.sh", "leaves the archive", "relative paths"}},
		"flooding script":  {fromScript, scriptOf("head -c 9000000 /dev/zero > $TMPDIR/x; tar -C $TMPDIR -c x >&3"), cli.ExitBuild, []string{"build.sh", "exceeds 100 entries", "raise root.limits"}},
		"curious script":   {fromScript, scriptOf("env | grep -q -i -e secret -e token && exit 9; echo nothing to see; exit 8"), cli.ExitBuild, []string{"exit status 8"}},
		"forgotten script": {fromScript, func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "build.sh"), "#!/bin/sh\n", 0o644) }, cli.ExitInput, []string{"build.sh", "chmod +x"}},

		"kernel of another CPU": {"root: {archive: {path: root.tar}}\nkernel: {files: {image: vmlinuz, version: \"6.1\"}}", each(bytesAs("root.tar", good), bytesAs("vmlinuz", peImage(0xaa64))),
			cli.ExitInput, []string{"vmlinuz", "it is for arm64, not for amd64", "name a kernel for amd64"}},
		"kernel in the root of another CPU": {fromArchive, bootableAnd(apttest.File("boot/vmlinuz-6.1", string(peImage(0xaa64)))), cli.ExitInput, []string{"boot/vmlinuz-6.1", "it is for arm64, not for amd64"}},
		"two kernels": {fromArchive, bootableAnd(file("boot/vmlinuz-6.1"), file("usr/lib/modules/6.2/vmlinuz")), cli.ExitInput,
			[]string{"there are 2: boot/vmlinuz-6.1, usr/lib/modules/6.2/vmlinuz", "keep only one of them"}},
		"no kernel":       {fromArchive, bootableAnd(file("etc/a")), cli.ExitInput, []string{"neither boot/vmlinuz-<version> nor", "name a kernel package"}},
		"missing modules": {fromArchive, bootableAnd(apttest.File("boot/vmlinuz-6.1", string(peImage(0x8664)))), cli.ExitInput, []string{`"loop"`, `"6.1"`, "choose a kernel package"}},
	}
}

// TestHostileArchives builds from package archives that lie, and whose packages
// are bad though their digests are right.
func TestHostileArchives(t *testing.T) {
	// The kernel's package is unpacked first.
	bad := func(file apttest.Member) func(*apttest.Repo, *platform) {
		return func(r *apttest.Repo, p *platform) {
			r.Add(apttest.Deb{Name: "linux-image-test", Version: "2.0", Files: []apttest.Member{file}})
			r.Publish()
			p.limits = "{size: 6MiB}"
		}
	}
	for name, x := range map[string]struct {
		set   func(*apttest.Repo, *platform)
		code  int
		words []string
	}{
		"expired":           {func(r *apttest.Repo, _ *platform) { r.ValidUntil = time.Unix(1_700_000_060, 0); r.Publish() }, cli.ExitInput, []string{"expired"}},
		"index of a size":   {func(r *apttest.Repo, _ *platform) { r.MapIndex = half; r.Publish() }, cli.ExitBuild, []string{"Packages", "size", "choose another mirror"}},
		"package of a size": {func(r *apttest.Repo, _ *platform) { truncatePool(r) }, cli.ExitBuild, []string{`"app"`, "SHA-256"}},
		"conflict": {func(r *apttest.Repo, p *platform) {
			r.Add(apttest.Deb{Name: "other", Fields: []string{"Conflicts: app"}})
			r.Publish()
			p.include = "app, other"
		}, cli.ExitInput, []string{`"other" 1.0 conflicts with "app"`, "platform.yaml"}},
		"cycle": {func(r *apttest.Repo, p *platform) {
			r.Add(apttest.Deb{Name: "one", Fields: []string{"Depends: two"}, Files: apttest.Bootable()})
			r.Add(apttest.Deb{Name: "two", Fields: []string{"Pre-Depends: one"}})
			r.Publish()
			p.include = "one"
		}, cli.ExitInput, []string{`"two" 1.0 is to be unpacked after "one"`, "two → one → two", "platform.yaml"}},
		// Packages that depend on each other otherwise are no mistake: both are
		// unpacked, and the build goes on to the kernel, which isn't there.
		"harmless cycle": {func(r *apttest.Repo, p *platform) {
			r.Add(apttest.Deb{Name: "one", Fields: []string{"Depends: two"}, Files: apttest.Bootable()})
			r.Add(apttest.Deb{Name: "two", Fields: []string{"Depends: one"}})
			r.Publish()
			p.include = "one"
		}, cli.ExitInput, []string{"finding the kernel"}},
		"no such package": {func(_ *apttest.Repo, p *platform) { p.include = "app, ap" },
			cli.ExitInput, []string{`platform.yaml:4: root.packages.include[1]: `, `no package "ap"; did you mean "app"?`}},
		"parent path":   {bad(apttest.File("./../x", "x")), cli.ExitBuild, []string{`"linux-image-test"`, "leaves the archive"}},
		"absolute path": {bad(apttest.File("/x", "x")), cli.ExitBuild, []string{`"linux-image-test"`, "leaves the archive"}},
		"bomb":          {bad(apttest.File("./x", string(make([]byte, 7<<20)))), cli.ExitInput, []string{`"linux-image-test"`, "exceeds", "raise root.limits"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, _ := newRepo()
			p := newPlatform(t, repo, serve(t, mirror{repo: repo}))
			x.set(repo, &p)
			output, check := outputWithBuild(t)
			cache := t.TempDir()
			got := bootsmith(t.Context(), nil, "build", "--file", p.write(t), "--output-dir", output, "--cache-dir", cache)
			wantFailure(t, got, x.code, x.words...)
			check()
			checkCache(t, cache)
		})
	}
}

// truncatePool cuts the package app short.
func truncatePool(r *apttest.Repo) {
	const path = "pool/main/app/app_1.0_amd64.deb"
	r.SetFile(path, half(r.File(path)))
}

func half(data []byte) []byte { return data[:len(data)/2] }

func zip(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data) // to memory
	_ = w.Close()
	return b.Bytes()
}

// peImage is an EFI program for a machine, as far as its header says.
func peImage(machine uint16) []byte {
	b := make([]byte, 256)
	copy(b, "MZ")
	b[0x3c] = 0x80
	copy(b[0x80:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(b[0x84:], machine)
	return b
}

func tarOf(members ...apttest.Member) func(*testing.T, string) {
	return bytesAs("root.tar", apttest.Tar(members))
}

// bootableAnd packs members into a root that could boot otherwise.
func bootableAnd(members ...apttest.Member) func(*testing.T, string) {
	return tarOf(append(apttest.Bootable(), members...)...)
}

func bytesAs(name string, data []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, name), string(data), 0o644) }
}

func each(a, b func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) { a(t, dir); b(t, dir) }
}

// cutBy compresses with a program and cuts what it made.
func cutBy(name, pkg string, data []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		packed := reader{pkg, name}.feed(t, dir, bytes.NewReader(data), "-c")
		writeFile(t, filepath.Join(dir, "root.tar"), string(half(packed)), 0o644)
	}
}

func scriptOf(text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		writeFile(t, filepath.Join(dir, "build.sh"), "#!/bin/sh\n"+text+"\n", 0o755)
	}
}

func makeDir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
