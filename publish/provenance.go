package publish

import (
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/spec"
)

// Defaults of the provenance statement.
const (
	buildType        = "https://powernode.dev/bootsmith/build/v1"
	defaultBuilderID = "https://powernode.dev/bootsmith"
	lockName         = "platform.lock"
)

// Provenance is the SLSA provenance predicate, version 1
// (slsa.dev/spec/v1.0/provenance).
type Provenance struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// BuildDefinition says what was built from what.
type BuildDefinition struct {
	BuildType            string               `json:"buildType"`
	ExternalParameters   ExternalParameters   `json:"externalParameters"`
	InternalParameters   InternalParameters   `json:"internalParameters"`
	ResolvedDependencies []ResourceDescriptor `json:"resolvedDependencies"`
}

// ExternalParameters are what the user of the builder decided.
type ExternalParameters struct {
	Platform         string `json:"platform"`
	Arch             string `json:"arch"`
	Family           string `json:"family"`
	Revision         string `json:"revision"`
	DefinitionSHA256 string `json:"definition_sha256"`
	LockSHA256       string `json:"lock_sha256,omitempty"` // of the lock that gave the inputs
}

// InternalParameters are what the builder derived from that.
type InternalParameters struct {
	PlanDigest string            `json:"plan_digest"`
	Created    string            `json:"created"` // RFC 3339; the build epoch
	Cmdline    string            `json:"cmdline"`
	Tools      map[string]string `json:"tools"`
	CI         *CIRun            `json:"ci,omitempty"`
}

// ResourceDescriptor is a package or image that went into the build, or a file
// that came out of it (in-toto attestation framework, "ResourceDescriptor").
type ResourceDescriptor struct {
	Name        string            `json:"name"`
	Digest      map[string]string `json:"digest"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// RunDetails say who ran the build.
type RunDetails struct {
	Builder    ProvenanceBuilder    `json:"builder"`
	Metadata   *ProvenanceMetadata  `json:"metadata,omitempty"`
	Byproducts []ResourceDescriptor `json:"byproducts"`
}

// ProvenanceBuilder identifies the builder.
type ProvenanceBuilder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// ProvenanceMetadata identifies the run.
type ProvenanceMetadata struct {
	InvocationID string `json:"invocationId"`
}

func (a *artifact) provenance(run Run) Provenance {
	m := a.build.manifest
	p := Provenance{
		BuildDefinition: BuildDefinition{
			BuildType: buildType,
			ExternalParameters: ExternalParameters{
				Platform: m.Platform, Arch: m.Arch, Family: a.family.Name,
				Revision: m.GitSHA, DefinitionSHA256: m.DefinitionSHA256, LockSHA256: m.LockSHA256,
			},
			InternalParameters:   InternalParameters{PlanDigest: m.PlanDigest, Created: stamp(m.Created), Cmdline: m.Cmdline, Tools: m.Tools, CI: run.CI},
			ResolvedDependencies: dependencies(m),
		},
		RunDetails: RunDetails{
			Builder:    ProvenanceBuilder{ID: run.BuilderID, Version: version(m)},
			Byproducts: []ResourceDescriptor{{Name: manifest.FileName, Digest: map[string]string{"sha256": a.build.sha256}}},
		},
	}
	if p.RunDetails.Builder.ID == "" {
		p.RunDetails.Builder.ID = defaultBuilderID
	}
	if run.InvocationID != "" {
		p.RunDetails.Metadata = &ProvenanceMetadata{InvocationID: run.InvocationID}
	}
	return p
}

func version(m *manifest.Manifest) map[string]string {
	if v := m.Tools["bootsmith"]; v != "" {
		return map[string]string{"bootsmith": v}
	}
	return nil
}

// dependencies lists what went into the build: the definition, what it was locked
// to, the base image and every package.
func dependencies(m *manifest.Manifest) []ResourceDescriptor {
	deps := []ResourceDescriptor{}
	if m.DefinitionSHA256 != "" {
		deps = append(deps, ResourceDescriptor{Name: spec.FileName, Digest: map[string]string{"sha256": m.DefinitionSHA256}})
	}
	if m.LockSHA256 != "" {
		deps = append(deps, ResourceDescriptor{Name: lockName, Digest: map[string]string{"sha256": m.LockSHA256}})
	}
	if algorithm, hex, ok := cutDigest(m.BaseImageDigest); ok {
		deps = append(deps, ResourceDescriptor{Name: "base image", Digest: map[string]string{algorithm: hex}})
	}
	for _, p := range m.Inputs {
		deps = append(deps, ResourceDescriptor{
			Name:        p.Name,
			Digest:      map[string]string{"sha256": p.SHA256},
			Annotations: map[string]string{"version": p.Version, "arch": p.Arch, "use": p.Use},
		})
	}
	return deps
}
