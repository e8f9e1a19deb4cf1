//go:build repro

package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/source/apt/apttest"
)

// serverDefinition is the platform that is a whole operating system.
const serverDefinition = "../../../fixtures/platforms/debian-13-server"

// updated is the package of which there will be a newer version, and one of its
// files.
const updated, updatedFile = "openssh-server", "usr/sbin/sshd"

var dpkgDeb = reader{"dpkg", "dpkg-deb"}

// TestOnePackageIsUpdated builds the server platform, and again when its archive
// has a newer version of one package, and counts the bytes of the image that a
// registry with the first one lacks.
func TestOnePackageIsUpdated(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "bootsmith")
	before := buildServer(t, serverDefinition, cache)
	m, err := manifest.Read(before)
	if err != nil {
		t.Fatal(err)
	}
	after := buildServer(t, mirrorOf(t, m, cache), cache)
	old := blobsOf(t, before)
	var sent, total int64
	layers := 0
	for digest, size := range blobsOf(t, after) {
		total += size
		if _, same := old[digest]; !same {
			sent += size
			layers++
			t.Logf("blob %.12s: %.1f MiB", digest, mib(size))
		}
	}
	t.Logf("an update of %s sends %.1f MiB in %d of %d blobs; the image has %.1f MiB", updated, mib(sent), layers, len(old), mib(total))
	if layers == 0 || sent > total/10 {
		t.Errorf("%d of %d bytes are sent again", sent, total)
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// buildServer builds a definition's image for the first architecture and returns
// the folder of its artifacts.
func buildServer(t *testing.T, definition, cache string) string {
	t.Helper()
	definition, err := filepath.Abs(definition)
	if err != nil {
		t.Fatal(err)
	}
	f := finished{dir: filepath.Join(t.TempDir(), "out"), cache: cache}
	// The date of the archive's release would be that of the other one, too.
	h := host{Umask: 0o022, Dir: definition, Env: append(network(), "HOME=/nonexistent", "SOURCE_DATE_EPOCH=1800000000")}
	a := arch.All()[0].Name
	if _, err := build(h, f, "--arch", a, "--variants", "oci"); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(f.dir, a)
}

// blobsOf returns the sizes of the blobs in a build's OCI layout, by digest.
func blobsOf(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "oci", "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		sizes[e.Name()] = info.Size()
	}
	return sizes
}

// mirrorOf makes an archive, in a folder, of the packages that went into a build,
// with a newer version of one of them. It returns a definition that uses it.
func mirrorOf(t *testing.T, m *manifest.Manifest, cache string) string {
	t.Helper()
	dir := t.TempDir()
	var index bytes.Buffer
	seen := map[string]bool{}
	for _, p := range m.Inputs {
		if seen[p.SHA256] {
			continue // the kernel, which is a part of the root as well
		}
		seen[p.SHA256] = true
		path := filepath.Join(cache, "sha256", p.SHA256[:2], p.SHA256[2:])
		if p.Name == updated {
			path = newerVersion(t, path)
		}
		name := fmt.Sprintf("pool/%s-%s.deb", p.SHA256[:16], p.Name)
		if err := copyEntry(filepath.Join(dir, name), path, 0); err != nil {
			t.Fatal(err)
		}
		index.Write(dpkgDeb.run(t, "", "--field", path))
		fmt.Fprintf(&index, "Filename: %s\nSize: %d\nSHA256: %s\n\n", name, sizeOf(t, path), sumOfFile(t, path))
	}
	const packages = "main/binary-amd64/Packages"
	suite := filepath.Join(dir, "dists", "trixie")
	if err := os.MkdirAll(filepath.Join(suite, filepath.Dir(packages)), 0o755); err != nil {
		t.Fatal(err)
	}
	release := fmt.Sprintf("Suite: stable\nCodename: trixie\nDate: %s\nArchitectures: amd64\nComponents: main\nSHA256:\n %x %d %s\n",
		time.Now().UTC().Format(time.RFC1123), sha256.Sum256(index.Bytes()), index.Len(), packages)
	key := apttest.NewKey()
	for name, data := range map[string][]byte{
		packages: index.Bytes(), "InRelease": apttest.Sign(key, []byte(release)),
	} {
		if err := os.WriteFile(filepath.Join(suite, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return serverFrom(t, "file://"+dir, keyringOf(t, apttest.Keyring(key, false)))
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// newerVersion makes a package with a higher version number and another program.
func newerVersion(t *testing.T, deb string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "unpacked")
	dpkgDeb.run(t, "", "--raw-extract", deb, dir)
	control := filepath.Join(dir, "DEBIAN", "control")
	version := strings.TrimSpace(string(dpkgDeb.run(t, "", "--field", deb, "Version")))
	text := strings.Replace(string(readFile(t, control)), "Version: "+version+"\n", "Version: "+version+"+update1\n", 1)
	if err := os.WriteFile(control, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, updatedFile)
	if err := os.WriteFile(program, append(readFile(t, program), 0), 0o755); err != nil {
		t.Fatal(err)
	}
	newer := dir + ".deb"
	dpkgDeb.run(t, "", "--build", "--root-owner-group", dir, newer)
	return newer
}

// serverFrom copies the server platform's definition, for another mirror.
func serverFrom(t *testing.T, mirror, keyring string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "definition")
	if err := os.CopyFS(dir, os.DirFS(serverDefinition)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "platform.yaml")
	const suite = "    suite: trixie\n"
	text := string(readFile(t, path))
	if !strings.Contains(text, suite) {
		t.Fatalf("the definition lacks %q", suite)
	}
	text = strings.Replace(text, suite, fmt.Sprintf("%s    mirror: %q\n    keyring: %q\n", suite, mirror, keyring), 1)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
