package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/families"
	"github.com/powernode/bootsmith/publish"
)

// crossRow is what verify --cross prints of one family for one architecture.
type crossRow struct {
	Arch       string   `json:"arch"`
	Family     string   `json:"artifact_family"`
	RootDigest string   `json:"composefs_digest"`
	RootHash   string   `json:"roothash"`
	Evidence   []string `json:"evidence"`
}

// runCross opens all artifacts of a build, in a folder or a registry, and makes
// sure that those of an architecture hold one root.
func runCross(ctx context.Context, env Env, flags verifyFlags, args []string) error {
	if len(args) == 0 {
		args = []string{flags.output}
	}
	for _, arg := range args {
		if info, err := os.Stat(arg); err == nil && info.IsDir() {
			if err := crossDir(ctx, env, flags.json, arg); err != nil {
				return fault.Default(fault.Build, err)
			}
			continue
		}
		if err := crossRef(ctx, env, flags, arg); err != nil {
			return fault.Default(fault.Remote, err)
		}
	}
	return nil
}

// crossDir proves the folder that build wrote, or one architecture's in it.
func crossDir(ctx context.Context, env Env, asJSON bool, dir string) error {
	dirs, err := archDirs(dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		proofs, err := families.Cross(ctx, d.path, d.arch, runtime.GOMAXPROCS(0))
		if err != nil {
			return err
		}
		if err := compareManifest(d, proofs); err != nil {
			return err
		}
		if err := printProofs(env, asJSON, d.arch, proofs); err != nil {
			return err
		}
	}
	return nil
}

type archDir struct {
	path string
	arch arch.Arch
}

// archDirs finds the architectures in a build folder.
func archDirs(dir string) ([]archDir, error) {
	if m, err := manifest.Read(dir); err == nil {
		a, err := arch.Lookup(m.Arch)
		return []archDir{{dir, a}}, err
	}
	var found []archDir
	for _, a := range arch.All() {
		path := filepath.Join(dir, a.Name)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			found = append(found, archDir{path, a})
		}
	}
	if len(found) == 0 {
		return nil, fault.Inputf("looking for a build in %q: it has no folder %s", dir, strings.Join(arch.Names(), " or ")).
			WithFix("name the folder that build wrote")
	}
	return found, nil
}

// compareManifest compares the proofs with the build manifest, if there is one:
// every family that it lists must have been there.
func compareManifest(d archDir, proofs []families.Proven) error {
	m, err := manifest.Read(d.path)
	if errors.Is(err, fs.ErrNotExist) && len(proofs) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	named := families.Proven{Family: manifest.FileName, Proof: families.Proof{RootDigest: m.ComposefsDigest, RootHash: m.RootHash}}
	if err := families.Agree(d.arch, append([]families.Proven{named}, proofs...)); err != nil {
		return err
	}
	for _, f := range m.Families {
		if !hasFamily(proofs, f.Name) {
			return fmt.Errorf("proving the root of %s for %s: %s lists it, but %q is not there",
				f.Name, d.arch.Name, manifest.FileName, filepath.Join(d.path, f.Name))
		}
	}
	return nil
}

func hasFamily(proofs []families.Proven, name string) bool {
	for _, p := range proofs {
		if p.Family == name {
			return true
		}
	}
	return false
}

// crossRef verifies a build's index in a registry and all that it names, pulls
// the artifacts into a temporary folder and proves them.
func crossRef(ctx context.Context, env Env, flags verifyFlags, ref string) error {
	policy, err := newPolicy(env, flags)
	if err != nil {
		return err
	}
	access, err := flags.registry.access(env, ref)
	if err != nil {
		return err
	}
	index, err := publish.Verify(ctx, access, ref, withoutPredicates(policy))
	if err != nil {
		return fmt.Errorf("verifying %q: %w", ref, err)
	}
	if len(index.Entries) == 0 {
		return fault.Inputf("comparing the artifacts of %q: it is a single one", ref).WithFix("name the build's index, whose tag is the commit")
	}
	dir, err := os.MkdirTemp("", "bootsmith-cross-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	named := map[string][]families.Proven{}
	for _, e := range index.Entries {
		p, err := pullEntry(ctx, access, policy, ref, e, dir)
		if err != nil {
			return err
		}
		named[e.Arch] = append(named[e.Arch], p)
	}
	for _, a := range arch.All() {
		if len(named[a.Name]) == 0 {
			continue
		}
		proofs, err := families.Cross(ctx, filepath.Join(dir, a.Name), a, runtime.GOMAXPROCS(0))
		if err != nil {
			return err
		}
		if err := families.Agree(a, append(named[a.Name], proofs...)); err != nil {
			return err
		}
		if err := printProofs(env, flags.json, a, proofs); err != nil {
			return err
		}
	}
	return nil
}

// withoutPredicates is the policy for an index, about which nothing is attested.
func withoutPredicates(p publish.Policy) publish.Policy {
	p.RequirePredicates = nil
	return p
}

// pullEntry verifies and pulls an artifact, and returns what its signed
// publication statement says of its root.
func pullEntry(ctx context.Context, access publish.Access, policy publish.Policy, ref string, e publish.Entry, dir string) (families.Proven, error) {
	if _, err := families.Lookup(e.Family); err != nil {
		return families.Proven{}, err
	}
	if _, err := arch.Lookup(e.Arch); err != nil {
		return families.Proven{}, err
	}
	one := repositoryOf(ref) + "@" + e.Digest
	r, err := publish.Verify(ctx, access, one, policy)
	if err != nil {
		return families.Proven{}, fmt.Errorf("verifying %s for %s: %w", e.Family, e.Arch, err)
	}
	if p := r.Publication; p == nil || p.ArtifactFamily != e.Family || p.Arch != e.Arch {
		return families.Proven{}, fmt.Errorf("verifying %s for %s: its publication statement is missing or about something else", e.Family, e.Arch)
	}
	to := filepath.Join(dir, e.Arch, e.Family)
	if e.ArtifactType == publish.ArtifactType {
		err = publish.PullLayers(ctx, access, one, r.Layers, to, 0)
	} else {
		err = publish.PullImage(ctx, access, one, r, to, 0)
	}
	proof := families.Proof{RootDigest: r.Publication.ComposefsDigest, RootHash: r.Publication.RootHash}
	return families.Proven{Family: "the publication statement of " + e.Family, Proof: proof}, err
}

// repositoryOf cuts tag and digest off a reference.
func repositoryOf(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		ref = ref[:colon]
	}
	return ref
}

func printProofs(env Env, asJSON bool, a arch.Arch, proofs []families.Proven) error {
	if asJSON {
		out := json.NewEncoder(env.Stdout)
		for _, p := range proofs {
			if err := out.Encode(crossRow{a.Name, p.Family, p.RootDigest, p.RootHash, p.Evidence}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(proofs) == 0 {
		return fmt.Errorf("proving the root for %s: there is no artifact", a.Name)
	}
	fmt.Fprintf(env.Stdout, "%s: one root in %d families\n  root digest  %s\n  root hash    %s\n", a.Name, len(proofs), proofs[0].RootDigest, proofs[0].RootHash)
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, p := range proofs {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", p.Family, p.RootDigest[:12], p.RootHash[:min(12, len(p.RootHash))], strings.Join(p.Evidence, "; "))
	}
	return w.Flush()
}
