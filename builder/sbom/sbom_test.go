package sbom

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

const status = `Package: busybox-static
Status: install ok unpacked
Priority: optional
Section: shells
Installed-Size: 2098
Maintainer: Someone <someone@example.org>
Architecture: arm64
Source: busybox
Version: 1:1.37.0-6+b3

Package: libc6
Status: install ok unpacked
Architecture: arm64
Multi-Arch: same
Source: glibc
Version: 2.41-12
`

const osRelease = `PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_ID="13"
ID=debian
`

const copyright = `Format: https://example.org/copyright-format/1.0/
Files: *
License: GPL-2
`

func newRoot(t *testing.T, files map[string]string) (*tree.Tree, *store.Store) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := tree.New(0)
	for path, text := range files {
		content, size, err := s.Put(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Put(path, &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: size, Content: content}); err != nil {
			t.Fatal(err)
		}
	}
	return root, s
}

func write(t *testing.T) (spdx, cycloneDX []byte) {
	t.Helper()
	root, s := newRoot(t, map[string]string{
		"var/lib/dpkg/status":                           status,
		"var/lib/dpkg/info/libc6:arm64.md5sums":         "d41d8cd98f00b204e9800998ecf8427e  usr/lib/libc.so.6\n",
		"usr/lib/os-release":                            osRelease,
		"usr/share/doc/busybox-static/copyright":        copyright,
		"usr/share/doc/busybox-static/changelog.Debian": "text",
	})
	if err := root.Put("etc/os-release", &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: "../usr/lib/os-release"}); err != nil {
		t.Fatal(err)
	}
	subject := Subject{
		Name: "demo", Version: "0123456", Arch: "arm64", Tool: "1.2.3", Epoch: time.Unix(1700000000, 0),
		Beside: []Package{{Name: "linux-image-6.12-cloud-arm64", Version: "6.12.1-1", Arch: "arm64"}},
	}
	var a, b bytes.Buffer
	if err := Write(context.Background(), root, s, subject, &a, &b); err != nil {
		t.Fatal(err)
	}
	return a.Bytes(), b.Bytes()
}

var wantPURLs = []string{
	"pkg:deb/debian/busybox-static@1%3A1.37.0-6%2Bb3?arch=arm64&distro=debian-13&upstream=busybox",
	"pkg:deb/debian/libc6@2.41-12?arch=arm64&distro=debian-13&upstream=glibc",
	"pkg:deb/debian/linux-image-6.12-cloud-arm64@6.12.1-1?arch=arm64&distro=debian-13",
}

func TestSPDXNamesEveryPackage(t *testing.T) {
	raw, _ := write(t)
	var doc struct {
		SPDXVersion       string
		Name              string
		DocumentNamespace string
		CreationInfo      struct {
			Created  string
			Creators []string
		}
		Packages []struct {
			Name         string
			VersionInfo  string
			ExternalRefs []struct{ ReferenceType, ReferenceLocator string }
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || doc.Name != "demo-arm64" || !strings.HasPrefix(doc.DocumentNamespace, namespace+"demo-arm64-") {
		t.Errorf("head = %q %q %q", doc.SPDXVersion, doc.Name, doc.DocumentNamespace)
	}
	if doc.CreationInfo.Created != "2023-11-14T22:13:20Z" || len(doc.CreationInfo.Creators) != 1 || doc.CreationInfo.Creators[0] != "Tool: bootsmith-1.2.3" {
		t.Errorf("creation info = %+v", doc.CreationInfo)
	}
	found := map[string]bool{}
	for _, p := range doc.Packages {
		for _, r := range p.ExternalRefs {
			if r.ReferenceType == "purl" {
				found[r.ReferenceLocator] = true
			}
		}
	}
	for _, want := range wantPURLs {
		if !found[want] {
			t.Errorf("package URL %q is missing in %v", want, found)
		}
	}
}

func TestCycloneDXNamesEveryPackage(t *testing.T) {
	_, raw := write(t)
	var doc struct {
		BOMFormat, SpecVersion, SerialNumber string
		Metadata                             struct {
			Timestamp string
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.BOMFormat != "CycloneDX" || doc.SpecVersion != "1.6" || !strings.HasPrefix(doc.SerialNumber, "urn:uuid:") {
		t.Errorf("head = %q %q %q", doc.BOMFormat, doc.SpecVersion, doc.SerialNumber)
	}
	if doc.Metadata.Timestamp != "2023-11-14T22:13:20Z" || doc.Metadata.Component.Name != "demo" {
		t.Errorf("metadata = %+v", doc.Metadata)
	}
	if len(doc.Components) != len(wantPURLs) {
		t.Fatalf("%d components, want %d", len(doc.Components), len(wantPURLs))
	}
	for i, c := range doc.Components {
		if c.PURL != wantPURLs[i] {
			t.Errorf("component %d = %q, want %q", i, c.PURL, wantPURLs[i])
		}
	}
}

func TestDocumentsAreDeterministic(t *testing.T) {
	spdx1, cdx1 := write(t)
	spdx2, cdx2 := write(t)
	if !bytes.Equal(spdx1, spdx2) {
		t.Error("two SPDX documents of one root differ")
	}
	if !bytes.Equal(cdx1, cdx2) {
		t.Error("two CycloneDX documents of one root differ")
	}
}

// Syft's catalogers link most of the world when imported whole; only the
// narrow packages may come in.
func TestImportCeiling(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) > 600 {
		t.Errorf("%d packages are linked, at most 600 are allowed", len(deps))
	}
	for _, d := range deps {
		if d == "github.com/anchore/syft/syft" || strings.Contains(d, "cyclonedxhelpers") {
			t.Errorf("%s is imported", d)
		}
	}
}
