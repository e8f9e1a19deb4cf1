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
	for line = strings.TrimLeft(line, spaces); line != ""; line = strings.TrimLeft(line, spaces) {
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

// spaces are the kernel's: isspace of lib/ctype.c.
const spaces = " \t\n\v\f\r\xa0"

func wordEnd(line string) int {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(spaces, line[i]) >= 0:
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
