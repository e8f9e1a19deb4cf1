package spec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/powernode/bootsmith/builder/fault"
)

// byteOrderMark is what some editors begin UTF-8 files with.
var byteOrderMark = []byte("\ufeff")

// maxSize bounds a definition, in bytes.
const maxSize = 1 << 20

// File is a definition that was read from disk.
type File struct {
	Definition
	// Path is the file's path, Dir its folder, to which the definition's own
	// paths are relative.
	Path, Dir string
	// SHA256 is the digest of the file's bytes, in hex.
	SHA256 string

	lines map[string]int
}

// Read reads the definition at path; a folder stands for its platform.yaml.
// Every error is of class Input and one line long.
func Read(path string) (*File, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, FileName)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Inputf("reading the definition: %w", err).WithFix("name a platform.yaml with --file")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fault.Inputf("reading the definition: %w", err)
	}
	if len(data) > maxSize {
		return nil, fault.Inputf("reading %q: larger than %d bytes", path, maxSize)
	}
	return Parse(path, data)
}

// Parse decodes the definition and checks it; path is used in errors and gives
// the folder.
func Parse(path string, data []byte) (*File, error) {
	sum := sha256.Sum256(data)
	out := &File{Path: path, Dir: filepath.Dir(path), SHA256: hex.EncodeToString(sum[:]), lines: map[string]int{}}
	if !utf8.Valid(data) {
		return nil, fault.Inputf("%s: it is not UTF-8 text", path).WithFix("save it as UTF-8")
	}
	doc, err := parser.ParseBytes(bytes.TrimPrefix(data, byteOrderMark), 0)
	if err != nil {
		return nil, syntaxError(path, err)
	}
	if len(doc.Docs) == 0 || doc.Docs[0].Body == nil {
		return nil, fault.Inputf("%s: expected a definition, found an empty document", path).WithFix("give the platform a name and a root")
	}
	if len(doc.Docs) != 1 {
		return nil, fault.Inputf("%s: expected exactly one YAML document, found %d", path, len(doc.Docs)).WithFix("describe one platform per file")
	}
	c := checker{path: path, lines: out.lines}
	if err := c.check(doc.Docs[0].Body, definitionType, ""); err != nil {
		return nil, err
	}
	if err := yaml.NodeToValue(doc.Docs[0].Body, &out.Definition, yaml.Strict()); err != nil {
		return nil, syntaxError(path, err)
	}
	out.applyDefaults()
	return out, out.validate()
}

// syntaxError turns the YAML library's multi-line error into one line.
func syntaxError(path string, err error) error {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		line, message := y.GetToken().Position.Line, y.GetMessage()
		if strings.Contains(message, "'\t'") || strings.Contains(message, "'	'") {
			return fault.Inputf("%s:%d: a tab where YAML takes spaces only", path, line).WithFix("indent with spaces")
		}
		return fault.Inputf("%s:%d: %s", path, line, message)
	}
	return fault.Inputf("%s: %s", path, firstLine(err.Error()))
}

func firstLine(s string) string {
	for i := range len(s) {
		if s[i] == '\n' {
			return s[:i]
		}
	}
	return s
}
