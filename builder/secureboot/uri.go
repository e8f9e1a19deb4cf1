package secureboot

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
)

// scheme begins every PKCS#11 URI.
const scheme = "pkcs11:"

// location is where a private key is.
type location struct {
	module string // the token's driver, a shared library; "" for the default
	token  string // label of the token
	slot   string // number of the slot
	object string // label of the key
	id     []byte // CKA_ID of the key
	pin    string
}

// parseURI reads a PKCS#11 URI (RFC 7512, section 2.3): attributes of token and
// key, separated by semicolons, then those of the query by ampersands.
func parseURI(uri string) (location, error) {
	path, query, _ := strings.Cut(strings.TrimPrefix(uri, scheme), "?")
	var l location
	for _, list := range []struct{ text, separator string }{{path, ";"}, {query, "&"}} {
		if list.text == "" {
			continue
		}
		for attribute := range strings.SplitSeq(list.text, list.separator) {
			if err := l.set(attribute); err != nil {
				return location{}, err
			}
		}
	}
	if l.object == "" && len(l.id) == 0 {
		return location{}, errors.New("it names no key; add object= or id=")
	}
	return l, nil
}

func (l *location) set(attribute string) error {
	name, encoded, ok := strings.Cut(attribute, "=")
	if !ok {
		return fmt.Errorf("it has an attribute without a value")
	}
	value, err := url.PathUnescape(encoded)
	if err != nil || strings.ContainsRune(value, 0) && name != "id" {
		return fmt.Errorf("the value of %q is not correctly encoded", name)
	}
	switch name {
	case "token":
		l.token = value
	case "slot-id":
		if value == "" || strings.Trim(value, "0123456789") != "" {
			return fmt.Errorf("slot-id is not a number")
		}
		l.slot = value
	case "object":
		l.object = value
	case "id":
		l.id = []byte(value)
	case "type":
		if value != "private" {
			return fmt.Errorf("it names a %q and not a private key", value)
		}
	case "module-path":
		if !filepath.IsAbs(value) {
			return errors.New("module-path is not absolute")
		}
		l.module = value
	case "pin-source":
		return l.readPIN(value)
	case "pin-value":
		return fault.Inputf("it holds a PIN").WithFix("remove pin-value, and set BOOTSMITH_SECURE_BOOT_PIN or use pin-source=file:/path")
	default:
		return fault.Inputf("attribute %q is not supported", name).WithFix("use token, slot-id, object, id, type, module-path and pin-source")
	}
	return nil
}

// readPIN takes the file that a pin-source names; commands are not run.
func (l *location) readPIN(source string) error {
	path := strings.TrimPrefix(strings.TrimPrefix(source, "file:"), "//")
	if !filepath.IsAbs(path) {
		return errors.New("pin-source is not an absolute file")
	}
	data, err := readFile(path)
	if err != nil {
		return fmt.Errorf("reading pin-source: %w", err)
	}
	l.pin = strings.TrimRight(string(data), "\r\n")
	return nil
}

// arguments returns the key's place as pkcs11-tool(1) takes it.
func (l location) arguments() []string {
	var args []string
	add := func(option, value string) {
		if value != "" {
			args = append(args, option, value)
		}
	}
	add("--module", l.module)
	add("--token-label", l.token)
	add("--slot", l.slot)
	add("--label", l.object)
	add("--id", hex.EncodeToString(l.id))
	return args
}
