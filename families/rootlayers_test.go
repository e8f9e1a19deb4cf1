package families

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/builder/tree"
)

// noise is text that compresses badly and depends on the seed.
func noise(seed uint64, size int) string {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

// packagedRoot is a root of 40 packages, some of them large, with dpkg's lists,
// and files of nobody. version is that of one package.
func packagedRoot(t testing.TB, in *Input, version int) {
	t.Helper()
	epoch := in.Epoch.Unix()
	in.Tree = tree.New(epoch)
	put := func(name string, data string, mtime int64) {
		t.Helper()
		c, size, err := in.Store.Put(strings.NewReader(data))
		if err == nil {
			err = in.Tree.Put(name, &tree.Inode{Mode: tree.TypeRegular | 0o644, Mtime: mtime, Size: size, Content: c})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Tree.Put("lib", &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "usr/lib"}); err != nil {
		t.Fatal(err)
	}
	for n := range 40 {
		size, seed, mtime := 10_000, uint64(n), int64(1_000_000+n)
		if n < 8 {
			size = 400_000 * (12 - n)
		}
		if n == 20 {
			seed, mtime = seed+uint64(100*version), mtime+int64(version)
		}
		name := fmt.Sprintf("package-%d", n)
		put("usr/lib/"+name+"/data", noise(seed, size), mtime)
		put("usr/bin/"+name, noise(seed+1000, 2000), mtime)
		put("etc/"+name+".conf", "generated", epoch)
		if err := in.Tree.Link("usr/bin/"+name, "usr/bin/alias-"+name); err != nil {
			t.Fatal(err)
		}
		// Packages of older releases name paths through the symbolic link.
		put(dpkgInfoDir+"/"+name+":amd64.list", fmt.Sprintf("/.\n/lib\n/lib/%[1]s\n/lib/%[1]s/data\n/usr/bin/%[1]s\n/usr/bin/alias-%[1]s\n/etc/%[1]s.conf\n/gone\n", name), epoch)
	}
	put("var/lib/dpkg/status", fmt.Sprintf("Package: package-20\nVersion: %d\n", version), epoch)
	// A directory changes with what is in it.
	dir, err := in.Tree.Lookup("usr/bin")
	if err != nil {
		t.Fatal(err)
	}
	dir.Inode.Mtime = 2_000_000 + int64(version)
}

// layerSizes returns the layers' sizes by digest.
func layerSizes(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	_, manifest := openImage(t, dir)
	sizes := map[string]int64{}
	for _, l := range manifest.Layers {
		sizes[l.Digest.Hex] = l.Size
	}
	return sizes
}

// TestOnePackageChanges counts the bytes that another version of one package
// sends.
func TestOnePackageChanges(t *testing.T) {
	in := testInput(t, "amd64")
	packagedRoot(t, &in, 1)
	checkRootDigest(t, in)
	_, before := build(t, oci{}, in)
	packagedRoot(t, &in, 2)
	checkRootDigest(t, in)
	_, after := build(t, oci{}, in)
	old, now := layerSizes(t, before), layerSizes(t, after)
	if len(now) != ownLayers+sharedLayers+3 {
		t.Errorf("%d layers", len(now))
	}
	var total, sent int64
	changed := 0
	for digest, size := range now {
		total += size
		if _, same := old[digest]; !same {
			sent += size
			changed++
		}
	}
	t.Logf("%d of %d bytes, %d of %d layers", sent, total, changed, len(now))
	if changed != 3 || sent > total/6 {
		t.Errorf("%d of %d bytes in %d of %d layers are sent again", sent, total, changed, len(now))
	}
}

// TestAnotherCommit builds the same packages with another time: no package's
// layer changes.
func TestAnotherCommit(t *testing.T) {
	in := testInput(t, "amd64")
	packagedRoot(t, &in, 1)
	_, before := build(t, oci{}, in)
	in.Epoch = in.Epoch.Add(1000e9)
	packagedRoot(t, &in, 1)
	_, after := build(t, oci{}, in)
	old := layerSizes(t, before)
	same := 0
	for digest := range layerSizes(t, after) {
		if _, ok := old[digest]; ok {
			same++
		}
	}
	if want := ownLayers + sharedLayers + 1; same != want {
		t.Errorf("%d layers are the same, want %d", same, want)
	}
}

// TestDeclaredState makes an image of a root with accounts and all kinds of
// files in /var: bootc's rules about them must hold.
func TestDeclaredState(t *testing.T) {
	in := testInput(t, "amd64")
	file := func(name, data string) {
		c, size, err := in.Store.Put(strings.NewReader(data))
		if err == nil {
			err = in.Tree.Put(name, &tree.Inode{Mode: tree.TypeRegular | 0o640, UID: 3, Mtime: 7, Size: size, Content: c})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:The \"web\" server, 100%:/var/www:/usr/sbin/nologin\n")
	file("etc/group", "root:x:0:\nweb:x:33:\nextra:x:99:web\n")
	file("usr/lib/sysusers.d/own.conf", "u root 0\n")
	file("usr/lib/tmpfiles.d/own.conf", "d /var/lib 0755 root root -\n")
	file("var/lib/a b%c'd\"e\\f", strings.Repeat("long", 100))
	file("var/lib/short", "short")
	file("var/log/empty", "")
	for name, i := range map[string]tree.Inode{
		"var/lib/fifo": {Mode: tree.TypeFifo | 0o600}, "var/lib/char": {Mode: tree.TypeChar | 0o600, Major: 1, Minor: 3},
		"var/lib/block": {Mode: tree.TypeBlock, Major: 8}, "var/lib/link": {Mode: tree.TypeSymlink | 0o777, Target: "a b"},
		"var/run": {Mode: tree.TypeDir | 0o755}, "var/tmp": {Mode: tree.TypeDir | 0o1777},
	} {
		if err := in.Tree.Put(name, &i); err != nil {
			t.Fatal(err)
		}
	}
	_, dir := build(t, oci{}, in)
	merged := tree.New(0)
	for _, name := range layerNames(t, dir, "") {
		apply(t, merged, in.Store, filepath.Join(dir, name))
	}
	findings, err := bootc.Lint(bootc.Image{Tree: merged, Open: in.Store.Open}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if len(f.Problems) > 0 {
			t.Errorf("%s: %q", f.Rule, f.Problems)
		}
	}
	if got, want := contentAt(t, in, merged, sysusersFile), `g extra 99
g web 33
u web 33:33 The\x20\x22web\x22\x20server,\x20100%% /var/www /usr/sbin/nologin
`; got != want {
		t.Errorf("sysusers.d:\n%s\nwant\n%s", got, want)
	}
	if got, want := contentAt(t, in, merged, tmpfilesFile), `C /var/lib/a\x20b%%c\x27d\x22e\x5cf 0640 3 0 - /usr/share/factory/var/lib/a\x20b%%c\x27d\x22e\x5cf
b /var/lib/block 0000 0 0 - 8:0
c /var/lib/char 0600 0 0 - 1:3
p /var/lib/fifo 0600 0 0 - -
L /var/lib/link - - - - a\x20b
C /var/lib/short 0640 3 0 - /usr/share/factory/var/lib/short
d /var/log 0755 0 0 - -
f /var/log/empty 0640 3 0 - -
L /var/run - - - - ../run
d /var/tmp 1777 0 0 - -
`; got != want {
		t.Errorf("tmpfiles.d:\n%s\nwant\n%s", got, want)
	}
	if got := contentAt(t, in, merged, "usr/share/factory/var/lib/a b%c'd\"e\\f"); got != strings.Repeat("long", 100) {
		t.Errorf("the factory's copy: %q", got)
	}
}

// Layers of deep trees are made in time that doesn't grow with depth squared for
// every file.
func TestDeepRoot(t *testing.T) {
	root := tree.New(0)
	if err := root.Put(strings.Repeat("d/", 2000)+"file", &tree.Inode{Mode: tree.TypeRegular | 0o644}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	layers, err := splitRoot(root, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layers[0].tree.Lookup(strings.Repeat("d/", 2000) + "file"); err != nil || len(layers) != 1 {
		t.Errorf("%d layers, %v", len(layers), err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}
