package callback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ParseEvent decodes a body. Fields that it doesn't know are passed over, so
// that newer senders can talk to older receivers. Unlike encoding/json it takes
// names only in their exact case and each only once: two readers of one
// signed body must not see two events. It doesn't check the values, see
// Event.Validate.
func ParseEvent(body []byte) (Event, error) {
	values, err := object(body)
	if err != nil {
		return Event{}, fmt.Errorf("decoding event: %w", err)
	}
	var e Event
	for _, f := range e.fields() {
		raw, ok := values[f.name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, f.value); err != nil {
			return Event{}, fmt.Errorf("decoding event: field %q: %w", f.name, err)
		}
	}
	return e, nil
}

// object splits a JSON object into its values.
func object(body []byte) (map[string]json.RawMessage, error) {
	if len(body) > MaxBody {
		return nil, fmt.Errorf("body is longer than %d bytes", MaxBody)
	}
	if !json.Valid(body) {
		return nil, errors.New("body is not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("body is not a JSON object")
	}
	values := map[string]json.RawMessage{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := tok.(string)
		if !ok {
			return nil, fmt.Errorf("%v is not a field name", tok)
		}
		if _, ok := values[name]; ok {
			return nil, fmt.Errorf("field %q stands there twice", name)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, err
		}
		values[name] = raw
	}
	if _, err := dec.Token(); err != nil && err != io.EOF {
		return nil, err
	}
	return values, nil
}
