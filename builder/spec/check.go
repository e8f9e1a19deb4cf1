package spec

import (
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/powernode/bootsmith/builder/fault"
)

var definitionType = reflect.TypeFor[Definition]()

// maxNumber is the largest number of a field: the largest id of a user, as the
// next one means "none" to chown(2).
const maxNumber = math.MaxUint32 - 1

// checker compares a YAML document with the Go types before it is decoded: it
// finds unknown and repeated fields and values of the wrong kind, and notes on
// which line each field stands.
type checker struct {
	path  string
	lines map[string]int
}

func (c checker) check(n ast.Node, t reflect.Type, field string) error {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	line := n.GetToken().Position.Line
	c.lines[field] = line
	switch t.Kind() {
	case reflect.Struct:
		return c.checkMapping(n, t, field)
	case reflect.Slice:
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			return c.wrong(line, field, "a list", n)
		}
		for i, v := range seq.Values {
			if err := c.check(v, t.Elem(), fmt.Sprintf("%s[%d]", field, i)); err != nil {
				return err
			}
		}
	case reflect.String:
		if _, ok := n.(*ast.StringNode); !ok {
			if _, ok := n.(*ast.LiteralNode); !ok {
				return c.wrong(line, field, "a string", n)
			}
		}
	case reflect.Bool:
		if _, ok := n.(*ast.BoolNode); !ok {
			return c.wrong(line, field, "true or false", n)
		}
	case reflect.Uint32:
		i, ok := n.(*ast.IntegerNode)
		if !ok {
			return c.wrong(line, field, "a number", n)
		}
		if v, ok := i.Value.(uint64); !ok || v > maxNumber {
			return fault.Inputf("%s:%d: %s: %s is out of range", c.path, line, field, i.GetToken().Value).
				WithFix("write a whole number from 0 to %d", uint32(maxNumber))
		}
	}
	return nil
}

func (c checker) checkMapping(n ast.Node, t reflect.Type, field string) error {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		return c.wrong(n.GetToken().Position.Line, field, "a mapping", n)
	}
	for _, kv := range m.Values {
		key := kv.Key.GetToken().Value
		line := kv.Key.GetToken().Position.Line
		name := key
		if field != "" {
			name = field + "." + key
		}
		sf, ok := fieldOf(t, key)
		if !ok {
			return c.unknown(line, name, key, t)
		}
		if err := c.check(kv.Value, sf.Type, name); err != nil {
			return err
		}
		c.lines[name] = line
	}
	return nil
}

func (c checker) wrong(line int, field, want string, n ast.Node) error {
	if field == "" {
		field = "the document"
	}
	return fault.Inputf("%s:%d: %s: expected %s, found %s", c.path, line, field, want, strings.ToLower(n.Type().String()))
}

func (c checker) unknown(line int, field, key string, t reflect.Type) error {
	known := fieldNames(t)
	return fault.Inputf("%s:%d: %s: unknown field", c.path, line, field).
		WithFix("did you mean %q? known are %s", Nearest(key, known), strings.Join(known, ", "))
}

func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("yaml") == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		names = append(names, t.Field(i).Tag.Get("yaml"))
	}
	return names
}
