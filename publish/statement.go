package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"

	"github.com/powernode/bootsmith/builder/fault"
)

// statementType is version 1 of the in-toto statement.
const statementType = "https://in-toto.io/Statement/v1"

// statement is an in-toto statement. The predicate stays as it was written:
// an SBOM has millions of bytes, and numbers must not change their form.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// newStatement says something about the file or manifest with a digest (hex).
func newStatement(name, sha256, predicateType string, predicate any) ([]byte, error) {
	raw, ok := predicate.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = encode(predicate); err != nil {
			return nil, err
		}
	}
	return encode(statement{
		Type:          statementType,
		Subject:       []subject{{Name: name, Digest: map[string]string{"sha256": sha256}}},
		PredicateType: predicateType,
		Predicate:     raw,
	})
}

// encode is json.Marshal without the escapes for HTML.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// parseStatement reads the signed payload of a bundle.
func parseStatement(payload []byte) (statement, error) {
	var s statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return statement{}, fmt.Errorf("reading an in-toto statement: %w", err)
	}
	if s.PredicateType == "" {
		return statement{}, fmt.Errorf("reading an in-toto statement: it has no predicateType")
	}
	return s, nil
}

// sameStatement tells whether a statement that was signed earlier says what a
// new one would say. The run that made a provenance statement may be another:
// an earlier run's statement about the same content remains true.
func sameStatement(signed, fresh []byte) bool {
	if bytes.Equal(signed, fresh) {
		return true
	}
	a, errA := withoutRun(signed)
	b, errB := withoutRun(fresh)
	return errA == nil && errB == nil && a != nil && reflect.DeepEqual(a, b)
}

// withoutRun decodes a provenance statement without what differs from one run to
// the next; it returns nil for other statements.
func withoutRun(raw []byte) (map[string]any, error) {
	s, err := parseStatement(raw)
	if err != nil || s.PredicateType != PredicateProvenance {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	if p, ok := m["predicate"].(map[string]any); ok {
		if run, ok := p["runDetails"].(map[string]any); ok {
			delete(run, "metadata")
		}
		if definition, ok := p["buildDefinition"].(map[string]any); ok {
			if internal, ok := definition["internalParameters"].(map[string]any); ok {
				delete(internal, "ci")
			}
		}
	}
	return m, nil
}

// readSBOM reads an SBOM whole: a statement carries it.
func readSBOM(dir, name string) (json.RawMessage, error) {
	path := filepath.Join(dir, name)
	raw, err := readBounded(path, maxSBOM)
	if err != nil {
		return nil, fault.Inputf("reading the SBOM: %w", err).WithFix("build again")
	}
	if !json.Valid(raw) {
		return nil, fault.Inputf("reading the SBOM %q: it is not JSON", path).WithFix("build again")
	}
	return raw, nil
}
