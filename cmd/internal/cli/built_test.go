package cli

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/families"
	"github.com/powernode/bootsmith/families/familiestest"
)

const builtRevision = "0123456789abcdef0123456789abcdef01234567"

// writeBuilt makes the output folder of a build: all families for all
// architectures, around small roots, with manifests and small SBOMs.
func writeBuilt(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, a := range arch.All() {
		writeBuiltArch(t, filepath.Join(dir, a.Name), a)
	}
	return dir
}

func writeBuiltArch(t *testing.T, dir string, a arch.Arch) {
	t.Helper()
	writeBuiltWith(t, dir, a, map[string]string{
		"sbin/init":    "#!program for " + a.Name + strings.Repeat("\n", 5000),
		"etc/hostname": "minimal\n",
	})
}

// writeBuiltWith makes a build for one architecture, around a root with these
// files.
func writeBuiltWith(t *testing.T, dir string, a arch.Arch, files map[string]string) {
	t.Helper()
	epoch := time.Date(2026, 11, 22, 10, 20, 30, 0, time.UTC)
	parts := familiestest.New(t, a, epoch, files)
	in := families.Input{
		Platform: "minimal", Arch: a, KernelVersion: "6.12-test",
		Kernel: part(t, parts.Kernel), Initramfs: part(t, parts.Initramfs), RootImage: part(t, parts.RootImage), UKI: part(t, parts.UKI),
		Tree: parts.Tree, Store: parts.Store, Cmdline: parts.Cmdline,
		RootDigest: hex.EncodeToString(parts.Root.Digest[:]), RootHash: hex.EncodeToString(parts.Root.RootHash[:]),
		Revision: builtRevision, Epoch: epoch, Scratch: t.TempDir(),
		ID: func(purpose string) [16]byte {
			return [16]byte{1, byte(len(purpose)), purpose[0], purpose[len(purpose)-1]}
		},
	}
	m := &manifest.Manifest{
		SchemaVersion: manifest.SchemaVersion, Platform: in.Platform, Arch: a.Name, GitSHA: builtRevision, KernelVersion: in.KernelVersion,
		Artifacts: map[string]manifest.File{}, Created: epoch, Cmdline: in.Cmdline,
		ComposefsDigest: in.RootDigest, FsverityRootHash: in.RootDigest, RootHash: in.RootHash,
		PlanDigest: "sha256:" + strings.Repeat("e", 64), DefinitionSHA256: strings.Repeat("f", 64),
	}
	for _, f := range builtFamilies() {
		m.Variants = append(m.Variants, f.Name())
		sink := families.NewSink(filepath.Join(dir, f.Name()))
		if err := f.Build(t.Context(), in, sink); err != nil {
			t.Fatal(err)
		}
		main, err := sink.Main()
		if err != nil {
			t.Fatal(err)
		}
		record(m, f.Name(), main, sink.Artifacts())
	}
	write(t, filepath.Join(dir, manifest.SPDXName), `{"spdxVersion":"SPDX-2.3","name":"minimal","packages":[{"name":"busybox-static"},{"name":"base-files"}]}`)
	write(t, filepath.Join(dir, manifest.CycloneDXName), `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[{"type":"library","name":"busybox-static"}]}`)
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, manifest.FileName), string(raw))
}

// builtFamilies are those for all architectures.
func builtFamilies() []families.Family {
	return slices.DeleteFunc(families.All(), func(f families.Family) bool {
		_, limited := f.(interface{ Supports(arch.Arch) bool })
		return limited
	})
}

func record(m *manifest.Manifest, family string, main families.Artifact, all []families.Artifact) {
	f := manifest.Family{Name: family, Main: family + "/" + main.Name}
	for _, a := range all {
		path := family + "/" + a.Name
		m.Artifacts[path] = manifest.File{SHA256: a.SHA256, SizeBytes: a.Size}
		f.Files = append(f.Files, manifest.FamilyFile{Path: path, MediaType: a.MediaType})
	}
	if family == "oci" {
		m.OCIDigest = "sha256:" + main.SHA256
	}
	m.Families = append(m.Families, f)
}

// part describes a file as a finished part.
func part(t *testing.T, path string) families.Blob {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sink := families.NewSink(t.TempDir())
	f, err := sink.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	a, err := f.Commit("part", "")
	if err != nil {
		t.Fatal(err)
	}
	return families.Blob{Path: path, Size: a.Size, SHA256: a.SHA256}
}
