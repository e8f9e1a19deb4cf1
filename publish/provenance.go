package publish

import (
	"github.com/powernode/bootsmith/builder/manifest"
)

// Defaults of the provenance statement.
const (
	buildType        = "https://powernode.dev/bootsmith/build/v1"
	defaultBuilderID = "https://powernode.dev/bootsmith"
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
}

// InternalParameters are what the builder derived from that.
type InternalParameters struct {
	PlanDigest string            `json:"plan_digest"`
	Created    string            `json:"created"` // RFC 3339; the build epoch
	Cmdline    string            `json:"cmdline"`
	Tools      map[string]string `json:"tools"`
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

// Run says who runs the build, for the provenance statement.
type Run struct {
	// BuilderID is a URI; empty means Bootsmith's own.
	BuilderID string
	// InvocationID identifies the run, usually a job's URL; may be empty.
	InvocationID string
}

// RunFromEnv fills Run from the variables that GitHub, Gitea and Forgejo
// Actions set; outside of them it is empty.
func RunFromEnv(getenv func(string) string) Run {
	server, repo, id := getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY"), getenv("GITHUB_RUN_ID")
	if server == "" || repo == "" || id == "" {
		return Run{}
	}
	url := server + "/" + repo + "/actions/runs/" + id
	if attempt := getenv("GITHUB_RUN_ATTEMPT"); attempt != "" {
		url += "/attempts/" + attempt
	}
	return Run{InvocationID: url}
}

func (a *artifact) provenance(run Run) Provenance {
	m := a.build.manifest
	p := Provenance{
		BuildDefinition: BuildDefinition{
			BuildType: buildType,
			ExternalParameters: ExternalParameters{
				Platform: m.Platform, Arch: m.Arch, Family: a.family.Name,
				Revision: m.GitSHA, DefinitionSHA256: m.DefinitionSHA256,
			},
			InternalParameters:   InternalParameters{PlanDigest: m.PlanDigest, Created: stamp(m.Created), Cmdline: m.Cmdline, Tools: m.Tools},
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

func dependencies(m *manifest.Manifest) []ResourceDescriptor {
	deps := []ResourceDescriptor{}
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
