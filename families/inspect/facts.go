package inspect

import (
	"bytes"
	"encoding/json"
)

// Fact is something that was read or computed.
type Fact struct{ Name, Value string }

// Facts are facts in the order in which they are shown.
type Facts []Fact

// MarshalJSON makes an object of them, in their order.
func (f Facts) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, fact := range f {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, text := range []string{fact.Name, fact.Value} {
			encoded, err := json.Marshal(text)
			if err != nil {
				return nil, err
			}
			if j > 0 {
				b.WriteByte(':')
			}
			b.Write(encoded)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Get returns the value of a fact, "" when there is none.
func (f Facts) Get(name string) string {
	for _, fact := range f {
		if fact.Name == name {
			return fact.Value
		}
	}
	return ""
}
