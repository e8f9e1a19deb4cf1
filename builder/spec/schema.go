package spec

import (
	"encoding/json"
	"reflect"

	"github.com/powernode/bootsmith/arch"
)

// schemaNode is the part of JSON Schema (draft 2020-12) that a definition
// needs.
type schemaNode struct {
	Schema               string                 `json:"$schema,omitempty"`
	Title                string                 `json:"title,omitempty"`
	Description          string                 `json:"description,omitempty"`
	Type                 string                 `json:"type"`
	Properties           map[string]*schemaNode `json:"properties,omitempty"`
	Required             []string               `json:"required,omitempty"`
	AdditionalProperties *bool                  `json:"additionalProperties,omitempty"`
	Items                *schemaNode            `json:"items,omitempty"`
	Enum                 []string               `json:"enum,omitempty"`
	Pattern              string                 `json:"pattern,omitempty"`
	Minimum              *int                   `json:"minimum,omitempty"`
	Maximum              int64                  `json:"maximum,omitempty"`
	OneOf                []schemaChoice         `json:"oneOf,omitempty"`
}

// schemaChoice is one of the fields of which exactly one must be there.
type schemaChoice struct {
	Required []string `json:"required"`
}

// Schema returns the JSON Schema of a definition, made from the types that
// decode it. families are the names that its field may hold.
func Schema(families []string) ([]byte, error) {
	root := schemaOf(definitionType, "")
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.Title = "Bootsmith platform definition"
	root.Required = []string{"name", "root"}
	root.Properties["name"].Pattern = `^[a-z0-9]+([._-][a-z0-9]+)*$`
	root.Properties["architectures"].Items.Enum = arch.Names()
	root.Properties["families"].Items.Enum = families
	disk := root.Properties["disk"].Properties
	disk["size"].Pattern = `^[1-9][0-9]*(MiB|GiB|TiB)$`
	disk["persist"].Properties["size"].Pattern = `^([1-9][0-9]*(MiB|GiB|TiB)|rest)$`
	disk["persist"].Properties["label"].Pattern = `^[A-Za-z0-9][A-Za-z0-9._-]{0,15}$`
	addRootRules(root.Properties["root"])
	root.Properties["kernel"].Properties["files"].Required = []string{"image"}
	root.Properties["kernel"].Properties["modules"].Enum = []string{ModulesInRoot, ModulesInInitramfs}
	user := root.Properties["users"].Items
	user.Required = []string{"name"}
	user.Properties["name"].Pattern = `^[a-z_][a-z0-9_-]{0,31}$`
	user.Properties["groups"].Items.Pattern = `^[a-z_][a-z0-9_-]{0,31}$`
	root.Properties["rpi4"].Required = []string{"firmware"}
	b, err := json.MarshalIndent(root, "", "  ")
	return append(b, '\n'), err
}

// addRootRules says that a root has one source, and what each needs.
func addRootRules(root *schemaNode) {
	known, _ := Root{}.sources()
	for _, name := range known {
		root.OneOf = append(root.OneOf, schemaChoice{Required: []string{name}})
	}
	root.Properties["limits"].Properties["size"].Pattern = `^[1-9][0-9]*(MiB|GiB|TiB)$`
	root.Properties["packages"].Required = []string{"suite", "include"}
	root.Properties["packages"].Properties["repositories"].Items.Required = []string{"suite"}
	bootstrap := root.Properties["bootstrap"]
	bootstrap.Required = []string{"suite"}
	bootstrap.Properties["repositories"].Items.Required = []string{"suite"}
	bootstrap.Properties["variant"].Enum = []string{VariantEssential, VariantApt, VariantRequired, VariantImportant, VariantStandard}
	root.Properties["archive"].Required = []string{"path"}
	root.Properties["directory"].Required = []string{"path"}
	root.Properties["script"].Required = []string{"path"}
	root.Properties["image"].Required = []string{"reference"}
	root.Properties["script"].Properties["output"].Enum = []string{OutputTar, OutputRoot}
	root.Properties["directory"].Properties["owners"].Items.Required = []string{"path"}
	root.Properties["archive"].Properties["sha256"].Pattern = `^[0-9a-f]{64}$`
}

func schemaOf(t reflect.Type, doc string) *schemaNode {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	n := &schemaNode{Description: doc}
	switch t.Kind() {
	case reflect.Struct:
		closed := false
		n.Type, n.AdditionalProperties, n.Properties = "object", &closed, map[string]*schemaNode{}
		for i := range t.NumField() {
			f := t.Field(i)
			n.Properties[f.Tag.Get("yaml")] = schemaOf(f.Type, f.Tag.Get("doc"))
		}
	case reflect.Slice:
		n.Type, n.Items = "array", schemaOf(t.Elem(), "")
	case reflect.Bool:
		n.Type = "boolean"
	case reflect.Uint32:
		zero := 0
		n.Type, n.Minimum, n.Maximum = "integer", &zero, maxNumber
	default:
		n.Type = "string"
	}
	return n
}
