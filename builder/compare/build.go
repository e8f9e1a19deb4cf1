package compare

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/tree"
)

// Built is what is known of a build for one architecture.
type Built struct {
	Manifest *manifest.Manifest
	// Remote tells that the manifest was put together from what a registry has,
	// which doesn't tell all of it.
	Remote bool
	// Tree is the root, and Open opens contents of it; nil when its files are
	// unknown.
	Tree *tree.Tree
	Open func(tree.Content) (io.ReadCloser, error)
}

// Build returns what builds tell, one for each architecture.
func Build(name string, built []Built) (Subject, error) {
	s := Subject{Name: name}
	for _, b := range built {
		side := manifestSide(b)
		if b.Tree != nil {
			accounts, known, err := accountItems(b.Tree, b.Open)
			if err != nil {
				return s, err
			}
			if known {
				side.Sections = append(side.Sections, Section{Accounts, accounts})
			}
			side.Sections = append(side.Sections, Section{Files, fileItems(b.Tree)})
		}
		s.Sides = append(s.Sides, side)
	}
	return s, nil
}

// manifestSide returns what a build manifest tells.
func manifestSide(b Built) Side {
	m := b.Manifest
	settings := []Item{
		setting("platform", m.Platform),
		setting("revision", m.GitSHA),
		setting("created", stamp(m.Created)),
		setting("base image", m.BaseImageDigest),
		setting("root digest", m.ComposefsDigest),
		setting("root hash", m.RootHash),
		setting("plan", m.PlanDigest),
		setting("definition", m.DefinitionSHA256),
		setting("lock", m.LockSHA256),
	}
	if !b.Remote {
		settings = append(settings, setting("archive released", m.AptSnapshot), setting("kernel version", m.KernelVersion),
			setting("families", strings.Join(m.Variants, " ")))
	}
	for _, tool := range slices.Sorted(maps.Keys(m.Tools)) {
		settings = append(settings, setting("made by "+tool, m.Tools[tool]))
	}
	artifacts, documents := artifactItems(m)
	side := Side{m.Arch, []Section{
		{Settings, settings},
		{Packages, inputItems(m.Inputs)},
		{Cmdline, cmdlineItems(withoutDigests(strings.Fields(m.Cmdline)))},
		{Artifacts, artifacts},
	}}
	if !b.Remote {
		side.Sections = append(side.Sections, Section{Documents, documents})
	}
	return side
}

// withoutDigests leaves out the parameters that name the root, which are among
// the settings.
func withoutDigests(parameters []string) []string {
	return slices.DeleteFunc(parameters, func(p string) bool {
		key, _, _ := strings.Cut(p, "=")
		return slices.Contains([]string{"composefs", "bootsmith.roothash", "bootsmith.rootblocks"}, key)
	})
}

// inputItems are a manifest's inputs. One that has several uses stands there for
// each of them.
func inputItems(inputs []manifest.Package) []Item {
	inputs = slices.Clone(inputs)
	slices.SortStableFunc(inputs, func(a, b manifest.Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	items := []Item{}
	for start := 0; start < len(inputs); {
		end := start
		var uses []string
		for ; end < len(inputs) && inputs[end].Name == inputs[start].Name && inputs[end].Version == inputs[start].Version; end++ {
			uses = append(uses, inputs[end].Use)
		}
		slices.SortFunc(uses, func(a, b string) int { return cmp.Compare(useOrder(a), useOrder(b)) })
		p := inputs[start]
		items = append(items, packageItem(p.Name, p.Version, p.SHA256, strings.Join(uses, "+")))
		start = end
	}
	return items
}

// useOrder is the order in which a plan lists uses.
func useOrder(use string) int { return slices.Index([]string{"root", "kernel", "stub"}, use) }

// artifactItems are the files of families, and those beside them. Of an image,
// whose blobs are named by their digests, there is only the manifest's digest.
func artifactItems(m *manifest.Manifest) (artifacts, documents []Item) {
	for path, f := range m.Artifacts {
		family, _, below := strings.Cut(path, "/")
		item := Item{path, []Field{{Name: "size", Value: fmt.Sprint(f.SizeBytes)}, {Name: "sha256", Value: f.SHA256}}}
		switch {
		case !below:
			documents = append(documents, item)
		case family != "oci":
			artifacts = append(artifacts, item)
		}
	}
	if m.OCIDigest != "" {
		artifacts = append(artifacts, Item{"oci", []Field{{Name: "sha256", Value: strings.TrimPrefix(m.OCIDigest, "sha256:")}}})
	}
	return artifacts, documents
}
