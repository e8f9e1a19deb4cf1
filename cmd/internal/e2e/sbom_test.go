package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// spdx is what the specification (SPDX 2.3, clauses 6 and 7) requires of a
// document and of a package.
type spdx struct {
	SPDXVersion, DataLicense, SPDXID, Name, DocumentNamespace string
	CreationInfo                                              struct {
		Created  time.Time
		Creators []string
	}
	Packages []struct {
		Name, SPDXID, VersionInfo, DownloadLocation string
		ExternalRefs                                []struct{ ReferenceType, ReferenceLocator string }
	}
	Relationships []struct{ SPDXElementID, RelatedSPDXElement, RelationshipType string }
}

type cycloneDX struct {
	BOMFormat, SpecVersion, SerialNumber string
	Components                           []struct{ Type, Name, Version, PURL string }
}

// installed is a package of the root, as dpkg knows it.
type installed struct{ name, version, arch string }

// TestSBOM compares both documents with the package database that lies in the
// root image, which fsck.erofs takes out.
func TestSBOM(t *testing.T) {
	eachArch(t, func(t *testing.T, a artifacts) {
		var doc spdx
		decode(t, a.path("sbom.spdx.json"), &doc)
		checkSPDX(t, doc)
		var bom cycloneDX
		decode(t, a.path("sbom.cdx.json"), &bom)
		if bom.BOMFormat != "CycloneDX" || bom.SpecVersion != "1.6" || !strings.HasPrefix(bom.SerialNumber, "urn:uuid:") {
			t.Errorf("CycloneDX %+v", bom)
		}
		all := rootPackages(t, a)
		if len(all) < 5 {
			t.Fatalf("dpkg's database has only %v", all)
		}
		for _, p := range all {
			if !hasSPDX(doc, p) {
				t.Errorf("the SPDX document lacks %+v", p)
			}
			if !hasCycloneDX(bom, p) {
				t.Errorf("the CycloneDX document lacks %+v", p)
			}
		}
		// What boots the root is shipped as well.
		for _, p := range a.manifest.Inputs {
			if in := (installed{p.Name, p.Version, p.Arch}); !hasSPDX(doc, in) || !hasCycloneDX(bom, in) {
				t.Errorf("a document lacks %+v", in)
			}
		}
	})
}

func decode(t *testing.T, path string, v any) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, path), v); err != nil {
		t.Fatalf("reading %s: %v", path, err)
	}
}

func checkSPDX(t *testing.T, doc spdx) {
	t.Helper()
	if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.SPDXID != "SPDXRef-DOCUMENT" || doc.Name == "" {
		t.Errorf("the document is %q %q %q %q", doc.SPDXVersion, doc.DataLicense, doc.SPDXID, doc.Name)
	}
	if u, err := url.Parse(doc.DocumentNamespace); err != nil || !u.IsAbs() || u.Fragment != "" {
		t.Errorf("the namespace is %q", doc.DocumentNamespace)
	}
	if doc.CreationInfo.Created.IsZero() || len(doc.CreationInfo.Creators) == 0 {
		t.Errorf("created %+v", doc.CreationInfo)
	}
	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range doc.Packages {
		if !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(p.SPDXID) || ids[p.SPDXID] || p.Name == "" || p.DownloadLocation == "" {
			t.Errorf("package %+v", p)
		}
		ids[p.SPDXID] = true
	}
	describes := false
	for _, r := range doc.Relationships {
		describes = describes || r.RelationshipType == "DESCRIBES" && r.SPDXElementID == "SPDXRef-DOCUMENT"
		if !ids[r.SPDXElementID] || !ids[r.RelatedSPDXElement] {
			t.Errorf("relationship %+v leads nowhere", r)
		}
	}
	if !describes {
		t.Error("the document describes nothing")
	}
}

// rootPackages reads dpkg's database: the object of the root image that looks
// like one.
func rootPackages(t *testing.T, a artifacts) []installed {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	fsckEROFS.run(t, "", "--extract="+dir, a.path("kernel-initrd/root.img"))
	paths, err := listFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		path = filepath.Join(dir, path)
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if data := readFile(t, path); bytes.HasPrefix(data, []byte("Package: ")) && bytes.Contains(data, []byte("\nStatus: install ok ")) {
			return parseStatus(string(data))
		}
	}
	t.Fatal("the root has no dpkg database")
	return nil
}

func parseStatus(text string) []installed {
	var all []installed
	for stanza := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		var p installed
		for line := range strings.Lines(stanza) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch key {
			case "Package":
				p.name = value
			case "Version":
				p.version = value
			case "Architecture":
				p.arch = value
			}
		}
		all = append(all, p)
	}
	return all
}

// isPURL tells whether a package URL (purl-spec, type deb) names the package.
func isPURL(purl string, p installed) bool {
	rest, found := strings.CutPrefix(purl, "pkg:deb/debian/")
	path, query, _ := strings.Cut(rest, "?")
	name, version, _ := strings.Cut(path, "@")
	for _, s := range []*string{&name, &version} {
		text, err := url.PathUnescape(*s)
		if err != nil {
			return false
		}
		*s = text
	}
	values, err := url.ParseQuery(query)
	return err == nil && found && name == p.name && version == p.version && values.Get("arch") == p.arch
}

func hasSPDX(doc spdx, p installed) bool {
	for _, x := range doc.Packages {
		for _, r := range x.ExternalRefs {
			if r.ReferenceType == "purl" && isPURL(r.ReferenceLocator, p) {
				return x.Name == p.name && x.VersionInfo == p.version
			}
		}
	}
	return false
}

func hasCycloneDX(bom cycloneDX, p installed) bool {
	for _, c := range bom.Components {
		if isPURL(c.PURL, p) {
			return c.Name == p.name && c.Version == p.version
		}
	}
	return false
}
