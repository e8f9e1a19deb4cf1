package spec

import (
	"regexp"
	"strings"
)

// Image is a container image.
type Image struct {
	Reference string `yaml:"reference" doc:"registry.example.com/path@sha256:…, or oci:./folder for an OCI image layout, perhaps with @sha256:…; ${arch} is replaced in folders"`
}

// layoutPrefix tells layouts from registries, as other tools have it.
const layoutPrefix = "oci:"

var imagePattern = regexp.MustCompile(`\A([^@\s]+?)(?:@(sha256:[0-9a-f]{64}))?\z`)

// Split returns the parts of the reference: a layout's folder or a registry's
// repository, the other being "", and the digest, which layouts need not have.
func (i Image) Split() (layout, repository, digest string) {
	m := imagePattern.FindStringSubmatch(i.Reference)
	if m == nil {
		return "", "", ""
	}
	if dir, ok := strings.CutPrefix(m[1], layoutPrefix); ok {
		return dir, "", m[2]
	}
	return "", m[1], m[2]
}

func (f *File) validateImage() error {
	i := f.Root.Image
	if i == nil {
		return nil
	}
	layout, repository, digest := i.Split()
	switch {
	case layout == "" && repository == "":
		return f.Bad("root.image.reference", "%q is not a reference", i.Reference).
			WithFix("write registry.example.com/path@sha256:… or oci:./folder")
	case layout == "" && digest == "":
		return f.Bad("root.image.reference", "%q has no digest", i.Reference).
			WithFix("append @sha256:… of the image or its index: a tag may stand for another image tomorrow")
	}
	return nil
}
