package builder

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/overlay"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/families"
)

// espFiles writes the definition's files for the EFI system partition below
// scratch.
func (b *targetBuild) espFiles(ctx context.Context, scratch string) ([]families.ESPFile, error) {
	o, err := b.loadOverlay(ctx, b.espDir, b.plan.ESPDigest)
	if err != nil {
		return nil, err
	}
	return b.writeFiles(o, filepath.Join(scratch, "esp"))
}

// writeFiles writes the files of an overlay for a FAT file system to dir.
func (b *targetBuild) writeFiles(o overlay.Overlay, dir string) ([]families.ESPFile, error) {
	sink := families.NewSink(dir)
	defer sink.Close()
	var files []families.ESPFile
	for _, e := range o {
		if e.Inode.IsDir() {
			continue // made for what is in it
		}
		if !e.Inode.IsRegular() {
			return nil, fault.Inputf("writing %q to a FAT file system: it is no file, and FAT knows no symlinks", e.Path).WithFix("put a copy in its place")
		}
		f, err := sink.Create()
		if err != nil {
			return nil, err
		}
		if err := e.Copy(f, b.config.Store); err != nil {
			return nil, err
		}
		a, err := f.Commit(e.Path, "")
		if err != nil {
			return nil, err
		}
		files = append(files, families.ESPFile{Path: e.Path, Blob: families.Blob{Path: filepath.Join(dir, filepath.FromSlash(e.Path)), Size: a.Size, SHA256: a.SHA256}})
	}
	return files, nil
}

// writeManifest writes build-manifest.json and SHA256SUMS.
func (b *targetBuild) writeManifest(kernelVersion string, img rootImage, outputs []familyOutput, sboms []families.Artifact) (output, error) {
	m := &manifest.Manifest{
		SchemaVersion: manifest.SchemaVersion, Platform: b.plan.Platform, Arch: b.arch.Name,
		BaseImageDigest: b.target.baseImage(),
		AptSnapshot:     b.target.Packages.snapshot(),
		KernelVersion:   kernelVersion, GitSHA: b.plan.Revision, Variants: variants(outputs),
		Artifacts:        map[string]manifest.File{},
		FsverityRootHash: fmt.Sprintf("%x", img.Value.Digest), ComposefsDigest: fmt.Sprintf("%x", img.Value.Digest),
		RootHash: fmt.Sprintf("%x", img.Value.RootHash), Cmdline: b.cmdline(img),
		Created: b.plan.time(), PlanDigest: b.plan.Digest(), DefinitionSHA256: b.plan.DefinitionSHA256,
		LockSHA256: b.plan.LockSHA256, Inputs: b.inputs(), Tools: tools(b.plan.Version),
	}
	for _, out := range outputs {
		m.Families = append(m.Families, addFamily(m, out))
	}
	for _, a := range sboms {
		m.Artifacts[a.Name] = manifest.File{SHA256: a.SHA256, SizeBytes: a.Size}
	}
	data, err := m.Encode()
	if err != nil {
		return output{}, err
	}
	sink := families.NewSink(b.staging)
	defer sink.Close()
	if err := writeText(sink, manifest.FileName, string(data)); err != nil {
		return output{}, err
	}
	err = writeText(sink, manifest.ChecksumsName, checksums(m, data))
	return newOutput(sink, ""), err
}

func writeText(sink *families.Sink, name, text string) error {
	f, err := sink.Create()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	_, err = f.Commit(name, "")
	return err
}

// variants names the families that were built.
func variants(outputs []familyOutput) []string {
	var names []string
	for _, out := range outputs {
		names = append(names, out.name)
	}
	return names
}

func addFamily(m *manifest.Manifest, out familyOutput) manifest.Family {
	f := manifest.Family{Name: out.name, Main: out.name + "/" + out.main}
	for _, a := range out.files {
		path := out.name + "/" + a.Name
		m.Artifacts[path] = manifest.File{SHA256: a.SHA256, SizeBytes: a.Size}
		f.Files = append(f.Files, manifest.FamilyFile{Path: path, MediaType: a.MediaType})
	}
	slices.SortFunc(f.Files, func(a, b manifest.FamilyFile) int { return strings.Compare(a.Path, b.Path) })
	if out.name == "oci" {
		m.OCIDigest = "sha256:" + m.Artifacts[f.Main].SHA256
	}
	return f
}

// checksums returns SHA256SUMS in the form that sha256sum -c takes.
func checksums(m *manifest.Manifest, manifestJSON []byte) string {
	lines := []string{fmt.Sprintf("%x  %s\n", sha256.Sum256(manifestJSON), manifest.FileName)}
	for path, f := range m.Artifacts {
		lines = append(lines, fmt.Sprintf("%s  %s\n", f.SHA256, path))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[64:], b[64:]) })
	return strings.Join(lines, "")
}

// inputs lists the packages by use, name and version; another source of the
// root stands there under the source's name.
func (b *targetBuild) inputs() []manifest.Package {
	var list []manifest.Package
	add := func(use string, packages ...apt.Package) {
		for _, p := range packages {
			list = append(list, manifest.Package{Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256, Use: use})
		}
	}
	if r := b.target.Root; r != nil && r.Source != imageSource {
		list = append(list, manifest.Package{Name: r.Source, Arch: b.arch.Name, SHA256: strings.TrimPrefix(r.Digest, "sha256:"), Use: "root"})
	}
	add("root", b.target.Packages.Root...)
	add("kernel", b.target.Packages.Kernel...)
	add("stub", b.target.Packages.Stub...)
	slices.SortFunc(list, func(x, y manifest.Package) int {
		return cmp.Or(strings.Compare(x.Use, y.Use), strings.Compare(x.Name, y.Name), strings.Compare(x.Version, y.Version))
	})
	return list
}

// tools names the versions that decide on the output's bytes.
func tools(version string) map[string]string {
	t := map[string]string{"bootsmith": version}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return t
	}
	t["go"] = info.GoVersion
	for _, d := range info.Deps {
		if ShapesOutput(d.Path) {
			t[d.Path] = d.Version
		}
	}
	return t
}
