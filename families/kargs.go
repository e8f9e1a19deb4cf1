package families

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// kargsTOML returns a file of kernel arguments for bootc, which adds digests of
// its own.
func kargsTOML(cmdline string) ([]byte, error) {
	kargs := slices.DeleteFunc(splitCmdline(cmdline), func(arg string) bool {
		return strings.HasPrefix(arg, "composefs=") || strings.HasPrefix(arg, "bootsmith.")
	})
	var out bytes.Buffer
	out.WriteString("kargs = [")
	for i, arg := range kargs {
		if i > 0 {
			out.WriteString(", ")
		}
		// JSON's strings are TOML's (TOML 1.0, "String").
		quoted, err := json.Marshal(arg)
		if err != nil {
			return nil, err
		}
		out.Write(quoted)
	}
	out.WriteString("]\n")
	return out.Bytes(), nil
}

// splitCmdline splits a kernel command line at spaces outside of double quotes,
// as the kernel's next_arg does.
func splitCmdline(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}
