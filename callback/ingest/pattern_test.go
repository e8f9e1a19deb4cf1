package ingest

import (
	"regexp"
	"testing"
)

func TestTrustPatternsThatAreRefused(t *testing.T) {
	for _, p := range []string{
		"", ".*", ".+", ".", "^.*$", "(?s).*", "[^x]*", ".*|x", "|a", "a|", "https://.*", "https?://.+", "(", "a)|(?:b", `[\s\S]*`, `\w+@\w+\.\w+`,
	} {
		if _, err := checkPattern(p); err == nil {
			t.Errorf("%q was taken", p)
		}
	}
	if _, err := checkPattern(string(make([]byte, maxPattern+1))); err == nil {
		t.Error("a long pattern was taken")
	}
}

func TestTrustPatternsMatchWholeStrings(t *testing.T) {
	for _, c := range []struct {
		pattern, good string
		bad           []string
		warning       bool
	}{
		{`https://ci\.example\.com/acme/.*`, "https://ci.example.com/acme/x", []string{
			"https://evil.example/https://ci.example.com/acme/x", "https://ci.example.com.evil/acme/x", "https://ciXexample.com/acme/x", "\nhttps://ci.example.com/acme/x",
		}, false},
		{`a@example\.com|b@example\.com`, "b@example.com", []string{"a@example.com.evil", "xb@example.com", "a@example.comb@example.com"}, false},
		{`(?m)^a@example\.com$`, "a@example.com", []string{"x\na@example.com", "a@example.com\nx"}, false},
		{`a@example.com`, "a@example.com", []string{"a@example.com "}, true},
	} {
		warning, err := checkPattern(c.pattern)
		if err != nil || (warning != "") != c.warning {
			t.Errorf("%q: warning %q, %v", c.pattern, warning, err)
		}
		re := regexp.MustCompile(anchor(c.pattern))
		if !re.MatchString(c.good) {
			t.Errorf("%q doesn't match %q", c.pattern, c.good)
		}
		for _, bad := range c.bad {
			if re.MatchString(bad) {
				t.Errorf("%q matches %q", c.pattern, bad)
			}
		}
	}
}
