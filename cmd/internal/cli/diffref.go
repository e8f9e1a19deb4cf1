package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/compare"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/families"
	"github.com/powernode/bootsmith/families/inspect"
	"github.com/powernode/bootsmith/publish"
)

// diffRef is what a registry has under a reference.
type diffRef struct {
	access  publish.Access
	policy  *publish.Policy // nil: nothing is verified
	ref     string
	scratch string
	builds  []*manifest.Manifest
	roots   map[string][]pullable // by architecture
}

// pullable is an artifact with a root in it.
type pullable struct {
	family string
	result publish.Result
}

// openDiffRef reads the manifests of a build's index, or of one artifact.
func openDiffRef(ctx context.Context, env Env, flags diffFlags, ref, scratch string) ([]diffBuild, error) {
	r := diffRef{ref: ref, scratch: scratch, roots: map[string][]pullable{}}
	var err error
	if r.access, err = flags.registry.access(env, ref); err != nil {
		return nil, err
	}
	if flags.identity == "" && flags.issuer == "" && flags.key == "" {
		fmt.Fprintf(env.Stderr, "%s: %s\n", ref, notVerified)
	} else {
		policy, err := newPolicy(env, flags.verifyFlags)
		if err != nil {
			return nil, err
		}
		r.policy = &policy
	}
	top, err := publish.LookAt(ctx, r.access, ref)
	if err != nil {
		return nil, err
	}
	if r.policy != nil && len(top.Entries) > 0 {
		if _, err := publish.Verify(ctx, r.access, repositoryOf(ref)+"@"+top.Digest, withoutPredicates(*r.policy)); err != nil {
			return nil, fmt.Errorf("verifying %q: %w", ref, err)
		}
	}
	entries := top.Entries
	if len(entries) == 0 {
		entries = []publish.Entry{{Digest: top.Digest, ArtifactType: top.ArtifactType, Arch: top.Annotations[publish.AnnotationArch], Family: top.Annotations[publish.AnnotationFamily]}}
	}
	for _, e := range entries {
		if err := r.add(ctx, e); err != nil {
			return nil, err
		}
	}
	var builds []diffBuild
	for _, m := range r.builds {
		builds = append(builds, diffBuild{compare.Built{Manifest: m, Remote: true}, func(ctx context.Context) (*inspect.Root, error) {
			return r.pullRoot(ctx, m.Arch)
		}})
	}
	return builds, nil
}

// add reads an artifact's manifest and provenance.
func (r *diffRef) add(ctx context.Context, e publish.Entry) error {
	one := repositoryOf(r.ref) + "@" + e.Digest
	look, err := publish.LookAt(ctx, r.access, one)
	if err != nil {
		return err
	}
	provenance, err := r.provenance(ctx, one, look)
	if err != nil {
		return err
	}
	external := provenance.BuildDefinition.ExternalParameters
	name, family := firstOf(e.Arch, external.Arch), firstOf(e.Family, external.Family)
	if _, err := arch.Lookup(name); err != nil {
		return fault.Inputf("comparing %q: neither the manifest nor a provenance says for which architecture it is", one)
	}
	if _, err := families.Lookup(family); err != nil {
		return fault.Inputf("comparing %q: %w", one, err)
	}
	m := r.build(name)
	m.fill(look, provenance)
	if look.ConfigType == ocispec.MediaTypeImageConfig {
		m.OCIDigest = look.Digest
	}
	for _, l := range look.Layers {
		if l.Title == "" || l.MediaType == publish.CosignBundleMediaType || l.MediaType == publish.AttestationBundleMediaType {
			continue
		}
		m.Artifacts[family+"/"+l.Title] = manifest.File{SHA256: strings.TrimPrefix(l.Digest, "sha256:"), SizeBytes: l.Size}
	}
	r.roots[name] = append(r.roots[name], pullable{family, look.Result})
	return nil
}

// diffManifest is a build manifest that is put together.
type diffManifest struct{ *manifest.Manifest }

// build returns the manifest of an architecture.
func (r *diffRef) build(name string) diffManifest {
	for _, m := range r.builds {
		if m.Arch == name {
			return diffManifest{m}
		}
	}
	m := &manifest.Manifest{Arch: name, Artifacts: map[string]manifest.File{}}
	r.builds = append(r.builds, m)
	return diffManifest{m}
}

// fill takes what a manifest's annotations and the provenance tell.
func (m diffManifest) fill(look *publish.Look, p publish.Provenance) {
	d := p.BuildDefinition
	m.Platform = firstOf(m.Platform, look.Annotations[publish.AnnotationPlatform], d.ExternalParameters.Platform)
	m.GitSHA = firstOf(m.GitSHA, look.Annotations[ocispec.AnnotationRevision], d.ExternalParameters.Revision)
	m.ComposefsDigest = firstOf(m.ComposefsDigest, look.Annotations[publish.AnnotationComposefs])
	m.RootHash = firstOf(m.RootHash, look.Annotations[publish.AnnotationRootHash])
	m.PlanDigest = firstOf(m.PlanDigest, d.InternalParameters.PlanDigest)
	m.DefinitionSHA256 = firstOf(m.DefinitionSHA256, d.ExternalParameters.DefinitionSHA256)
	m.LockSHA256 = firstOf(m.LockSHA256, d.ExternalParameters.LockSHA256)
	m.Cmdline = firstOf(m.Cmdline, d.InternalParameters.Cmdline)
	if m.Tools == nil {
		m.Tools = d.InternalParameters.Tools
	}
	if t, err := time.Parse(time.RFC3339, firstOf(d.InternalParameters.Created, look.Annotations[ocispec.AnnotationCreated])); err == nil {
		m.Created = t
	}
	if m.Inputs != nil {
		return
	}
	for _, dep := range d.ResolvedDependencies {
		use := dep.Annotations["use"]
		if dep.Name == "base image" && use == "" {
			m.BaseImageDigest = "sha256:" + dep.Digest["sha256"]
		}
		if use == "" {
			continue
		}
		m.Inputs = append(m.Inputs, manifest.Package{
			Name: dep.Name, Version: dep.Annotations["version"], Arch: dep.Annotations["arch"], SHA256: dep.Digest["sha256"], Use: use,
		})
	}
}

// provenance returns the verified provenance, or, without a policy, what a
// bundle claims; an empty one when there is none.
func (r *diffRef) provenance(ctx context.Context, one string, look *publish.Look) (p publish.Provenance, err error) {
	var raw json.RawMessage
	if r.policy != nil {
		verified, err := publish.Verify(ctx, r.access, one, *r.policy)
		if err != nil {
			return p, fmt.Errorf("verifying %q: %w", one, err)
		}
		raw = verified.Predicate(publish.PredicateProvenance)
	} else if i := slices.IndexFunc(look.Referrers, func(l publish.Referrer) bool { return l.Predicate == publish.PredicateProvenance }); i >= 0 {
		raw = look.Referrers[i].Content
	}
	if raw == nil {
		return p, nil
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, fmt.Errorf("reading the provenance of %q: %w", one, err)
	}
	return p, nil
}

// rootLayers are the families whose files hold a root image, in the order of
// their size, and how the file's name ends.
func rootLayers() []struct{ family, suffix string } {
	return []struct{ family, suffix string }{
		{"kernel-initrd", "root.img"}, {"qcow2", ".qcow2"}, {"raw", ".img"}, {"iso", ".iso"}, {"disk-image-rpi4", ".img"},
	}
}

// pullRoot pulls the one file of an architecture's artifacts that tells the
// root's files with the least bytes, and opens it.
func (r *diffRef) pullRoot(ctx context.Context, name string) (*inspect.Root, error) {
	a, err := arch.Lookup(name)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(r.scratch, name)
	if err := r.pullOne(ctx, name, dir); err != nil {
		return nil, fault.Default(fault.Remote, err)
	}
	return inspect.OpenRoot(ctx, dir, a, compare.AccountFiles)
}

func (r *diffRef) pullOne(ctx context.Context, name, dir string) error {
	for _, want := range rootLayers() {
		for _, p := range r.roots[name] {
			i := slices.IndexFunc(p.result.Layers, func(l publish.Layer) bool { return strings.HasSuffix(l.Title, want.suffix) })
			if p.family == want.family && i >= 0 {
				return publish.PullLayers(ctx, r.access, r.one(p), p.result.Layers[i:i+1], filepath.Join(dir, p.family), 0)
			}
		}
	}
	for _, p := range r.roots[name] {
		if p.family == "oci" {
			return publish.PullImage(ctx, r.access, r.one(p), &p.result, filepath.Join(dir, "oci"), 0)
		}
	}
	return fault.Inputf("reading the root of %q for %s: no artifact holds one: %w", r.ref, name, fs.ErrNotExist).WithFix("give --files=false, or name the build's index, whose tag is the commit")
}

// one is the reference of an artifact.
func (r *diffRef) one(p pullable) string { return repositoryOf(r.ref) + "@" + p.result.Digest }
