package sbom

import (
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/anchore/syft/syft/pkg"
	"github.com/google/uuid"
)

func writeCycloneDX(w io.Writer, subject Subject, packages []pkg.Package) error {
	root := cdx.Component{
		BOMRef:  "platform:" + subject.Name + ":" + subject.Arch,
		Type:    cdx.ComponentTypeOS,
		Name:    subject.Name,
		Version: subject.Version,
	}
	components := make([]cdx.Component, 0, len(packages))
	for _, p := range packages {
		components = append(components, component(p))
	}
	doc := cdx.NewBOM()
	doc.SerialNumber = contentID(subject, packages).URN()
	doc.Metadata = &cdx.Metadata{
		Timestamp: subject.Epoch.UTC().Format(time.RFC3339),
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{
			{Type: cdx.ComponentTypeApplication, Name: "bootsmith", Version: subject.Tool},
		}},
		Component: &root,
	}
	doc.Components = &components
	return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(doc, cdx.SpecVersion1_6)
}

func component(p pkg.Package) cdx.Component {
	c := cdx.Component{
		BOMRef:     p.PURL,
		Type:       cdx.ComponentTypeLibrary,
		Name:       p.Name,
		Version:    p.Version,
		PackageURL: p.PURL,
	}
	var licenses cdx.Licenses
	for _, l := range p.Licenses.ToSlice() {
		if l.SPDXExpression != "" {
			licenses = append(licenses, cdx.LicenseChoice{License: &cdx.License{Name: l.SPDXExpression}})
		} else if l.Value != "" {
			licenses = append(licenses, cdx.LicenseChoice{License: &cdx.License{Name: l.Value}})
		}
	}
	if len(licenses) > 0 {
		c.Licenses = &licenses
	}
	return c
}

// contentID returns a UUID that is made from what the documents say (RFC 9562,
// version 8: a truncated SHA-256).
func contentID(subject Subject, packages []pkg.Package) uuid.UUID {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q %q %d\n", subject.Name, subject.Version, subject.Arch, subject.Tool, subject.Epoch.Unix())
	for _, p := range packages {
		fmt.Fprintf(sum, "%q\n", p.PURL)
	}
	id, _ := uuid.FromBytes(sum.Sum(nil)[:16]) // 16 bytes are always a UUID
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}
