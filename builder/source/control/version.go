package control

import (
	"cmp"
	"fmt"
	"strings"
)

// CompareVersions compares two package versions as dpkg does (deb-version(7)):
// it is negative when a is earlier than b, 0 when they are equal. Malformed
// versions are compared by the same rules; CheckVersion tells them.
func CompareVersions(a, b string) int {
	ae, au, ar := splitVersion(a)
	be, bu, br := splitVersion(b)
	if c := compareNumbers(ae, be); c != 0 {
		return c
	}
	if c := compareParts(au, bu); c != 0 {
		return c
	}
	return compareParts(ar, br)
}

// splitVersion splits [epoch:]upstream[-revision]. A missing revision is as
// good as "0", which compares equal to "".
func splitVersion(v string) (epoch, upstream, revision string) {
	if i := strings.IndexByte(v, ':'); i >= 0 {
		epoch, v = v[:i], v[i+1:]
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// compareParts compares upstream versions or revisions: runs of non-digits by
// character, runs of digits by value, in turn.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := cmp.Compare(order(a), order(b)); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		var an, bn string
		an, a = takeDigits(a)
		bn, b = takeDigits(b)
		if c := compareNumbers(an, bn); c != 0 {
			return c
		}
	}
	return 0
}

// order is the weight of s's first character among non-digits: '~' before the
// end of the part (which a digit is, too), letters before everything else.
func order(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isLetter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

// compareNumbers compares runs of digits of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

func takeDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// CheckVersion returns an error for a version that dpkg would refuse: the
// epoch is a number, the upstream version starts with a digit, and only
// letters, digits and . + - ~ (in the upstream version also :) are used.
func CheckVersion(v string) error {
	epoch, upstream, revision := splitVersion(v)
	bad := upstream == "" || !isDigit(upstream[0]) ||
		strings.Contains(v, ":") && (epoch == "" || !only(epoch, "")) ||
		!onlyVersion(upstream, "-:") || !onlyVersion(revision, "") ||
		strings.HasSuffix(v, "-")
	if bad || len(epoch) > 9 {
		return fmt.Errorf("reading version %q: not a Debian version", v)
	}
	return nil
}

func only(s, more string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && !strings.ContainsRune(more, r)
	}) < 0
}

func onlyVersion(s, more string) bool {
	return only(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.+~"+more)
}
