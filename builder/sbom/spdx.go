package sbom

import (
	"encoding/json"
	"io"
	"time"

	"github.com/anchore/syft/syft/format/common/spdxhelpers"
	"github.com/anchore/syft/syft/linux"
	"github.com/anchore/syft/syft/pkg"
	syft "github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"github.com/spdx/tools-golang/spdx"
)

// namespace begins the documents' unique names (SPDX 2.3, 6.5).
const namespace = "https://github.com/powernode/bootsmith/spdx/"

func writeSPDX(w io.Writer, subject Subject, packages []pkg.Package, release *linux.Release) error {
	doc := spdxhelpers.ToFormatModel(syft.SBOM{
		Artifacts: syft.Artifacts{
			Packages:          pkg.NewCollection(packages...),
			LinuxDistribution: release,
		},
		Source: source.Description{
			ID:       subject.Name,
			Name:     subject.Name + "-" + subject.Arch,
			Version:  subject.Version,
			Metadata: source.DirectoryMetadata{Path: "/"},
		},
		Descriptor: syft.Descriptor{Name: "bootsmith", Version: subject.Tool},
	})
	doc.DocumentName = subject.Name + "-" + subject.Arch
	doc.DocumentNamespace = namespace + doc.DocumentName + "-" + contentID(subject, packages).String()
	doc.CreationInfo.Created = subject.Epoch.UTC().Format(time.RFC3339)
	doc.CreationInfo.Creators = []spdx.Creator{{CreatorType: "Tool", Creator: "bootsmith-" + subject.Tool}}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(doc)
}
