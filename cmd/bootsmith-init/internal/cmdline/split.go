package cmdline

import "strings"

// param is one parameter of a kernel command line.
type param struct {
	key, value string
	hasValue   bool
}

// split takes a kernel command line apart as next_arg of lib/cmdline.c does:
// white space outside of double quotes ends a parameter, the first "=" ends
// its key, and quotes around the parameter or its value are dropped. What
// follows "--" belongs to the next init and is left out.
func split(line string) []param {
	var params []param
	for line = trimSpaces(line); line != ""; line = trimSpaces(line) {
		end := wordEnd(line)
		word := line[:end]
		line = line[end:]
		if word == "--" {
			break
		}
		params = append(params, parse(word))
	}
	return params
}

// isSpace is the kernel's isspace (lib/ctype.c): bytes, not characters.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0xa0 }

func trimSpaces(line string) string {
	for line != "" && isSpace(line[0]) {
		line = line[1:]
	}
	return line
}

func wordEnd(line string) int {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case !quoted && isSpace(line[i]):
			return i
		}
	}
	return len(line)
}

func parse(word string) param {
	if rest, ok := strings.CutPrefix(word, `"`); ok {
		word = strings.TrimSuffix(rest, `"`)
	}
	key, value, ok := strings.Cut(word, "=")
	if rest, quoted := strings.CutPrefix(value, `"`); quoted {
		value = strings.TrimSuffix(rest, `"`)
	}
	return param{key, value, ok}
}
