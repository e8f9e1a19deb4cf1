package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// maxText bounds texts that are read whole, maxJSON documents; in bytes.
const (
	maxText = 64 << 10
	maxJSON = 64 << 20
)

func isScript(s source) bool { return s.has(0, "#!ipxe") }

// describeScript shows the commands that load something.
func describeScript(_ context.Context, s source, r *Report, _ int) error {
	r.Kind = "iPXE script"
	text, err := s.head(maxText)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.ToValidUTF8(strings.TrimSpace(line), "?")
		command, rest, _ := strings.Cut(line, " ")
		if command == "kernel" || command == "initrd" {
			r.set(command, strings.TrimSuffix(rest, " || goto failed"))
		}
	}
	return nil
}

// isCmdline recognises a kernel command line by Bootsmith's parameters.
func isCmdline(s source) bool {
	if s.size > maxText {
		return false
	}
	text, err := s.head(maxText)
	return err == nil && bytes.Contains(text, []byte("bootsmith.roothash=")) && bytes.IndexByte(text, 0) < 0
}

func describeCmdline(_ context.Context, s source, r *Report, _ int) error {
	r.Kind = "kernel command line"
	text, err := s.head(maxText)
	r.set("kernel command line", strings.ToValidUTF8(strings.TrimSpace(string(text)), "?"))
	return err
}

func isJSON(s source) bool {
	head, err := s.head(64)
	return err == nil && bytes.HasPrefix(bytes.TrimSpace(head), []byte("{"))
}

// document is what the JSON documents of a build have of these fields.
type document struct {
	SPDXVersion string            `json:"spdxVersion"`
	Name        string            `json:"name"`
	Packages    []json.RawMessage `json:"packages"`

	BOMFormat   string            `json:"bomFormat"`
	SpecVersion string            `json:"specVersion"`
	Components  []json.RawMessage `json:"components"`

	SchemaVersion   int               `json:"schema_version"`
	Platform        string            `json:"platform"`
	Arch            string            `json:"arch"`
	KernelVersion   string            `json:"kernel_version"`
	GitSHA          string            `json:"git_sha"`
	Created         string            `json:"created"`
	ComposefsDigest string            `json:"composefs_digest"`
	RootHash        string            `json:"roothash"`
	Cmdline         string            `json:"cmdline"`
	Inputs          []json.RawMessage `json:"inputs"`
}

// describeJSON describes an SBOM or a build manifest.
func describeJSON(ctx context.Context, s source, r *Report, _ int) error {
	if s.size > maxJSON {
		return nil
	}
	data, err := io.ReadAll(ctxReader{ctx, s.section()})
	if err != nil {
		return err
	}
	return describeDocument(data, r)
}

// Document describes a JSON document, such as the SBOM in an attestation.
func Document(name string, data []byte) (Report, error) {
	r := Report{Name: name, Kind: KindUnknown, Size: int64(len(data))}
	return r, describeDocument(data, &r)
}

func describeDocument(data []byte, r *Report) error {
	r.Kind = "JSON document"
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		var other *json.UnmarshalTypeError
		if errors.As(err, &other) {
			return nil // some other document
		}
		r.Kind = KindUnknown
		return nil
	}
	switch {
	case d.SPDXVersion != "":
		r.Kind = "SBOM (" + d.SPDXVersion + ")"
		r.set("about", d.Name)
		r.set("packages", len(d.Packages))
	case d.BOMFormat == "CycloneDX":
		r.Kind = "SBOM (CycloneDX " + d.SpecVersion + ")"
		r.set("components", len(d.Components))
	case d.SchemaVersion != 0 && d.Platform != "" && d.Arch != "":
		r.Kind = "build manifest"
		r.set("platform", d.Platform)
		r.set("architecture", d.Arch)
		r.set("kernel version", d.KernelVersion)
		r.set("revision", d.GitSHA)
		r.set("created", d.Created)
		r.set("root digest", d.ComposefsDigest)
		r.set("root hash", d.RootHash)
		r.set("kernel command line", d.Cmdline)
		r.set("input packages", len(d.Inputs))
	}
	return nil
}
