package ingest

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// maxPattern is the longest trust pattern, in bytes.
const maxPattern = 1024

// strangers are identities and issuers that no reasonable pattern trusts.
var strangers = []string{
	"", "x", "\x01", "stranger", "stranger@stranger.invalid", "https://stranger.invalid", "https://stranger.invalid/",
	"https://stranger.invalid/a/b/.github/workflows/build.yaml@refs/heads/main",
}

// anchor makes a trust pattern match whole strings only.
func anchor(pattern string) string { return `\A(?:` + pattern + `)\z` }

// checkPattern refuses a trust pattern that is empty, doesn't compile or would
// trust a stranger. The warning, if there is one, is about a pattern that may
// trust more than its author meant.
func checkPattern(pattern string) (warning string, err error) {
	if pattern == "" || len(pattern) > maxPattern {
		return "", fmt.Errorf("a pattern has 1 to %d bytes", maxPattern)
	}
	// On its own first: "a)|(?:b" would only compile between the anchors.
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", err
	}
	re, err := regexp.Compile(anchor(pattern))
	if err != nil {
		return "", err
	}
	for _, s := range strangers {
		if re.MatchString(s) {
			return "", fmt.Errorf("the pattern trusts everyone: it matches %q", s)
		}
	}
	if hasBareDot(parsed) {
		warning = `a dot that is not escaped matches any character; write \. for a dot`
	}
	return warning, nil
}

// hasBareDot reports whether a dot stands for one character. Below a repetition
// it is surely meant.
func hasBareDot(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return true
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		if op := re.Sub[0].Op; op == syntax.OpAnyChar || op == syntax.OpAnyCharNotNL {
			return false
		}
	}
	for _, sub := range re.Sub {
		if hasBareDot(sub) {
			return true
		}
	}
	return false
}

// checkSigner compares the verified certificate with the patterns once more:
// the verifier is asked to, but a verifier that forgets must not publish.
func checkSigner(r VerifyRequest, ev Evidence) error {
	for _, c := range []struct{ what, pattern, value string }{
		{"identity", r.IdentityRegexp, ev.Identity}, {"issuer", r.IssuerRegexp, ev.Issuer},
	} {
		re, err := regexp.Compile(c.pattern)
		if err != nil {
			return err
		}
		if c.value == "" {
			return errors.New("the signature's " + c.what + " is empty")
		}
		if !re.MatchString(c.value) {
			return fmt.Errorf("the signature's %s %q is not trusted", c.what, c.value)
		}
	}
	return nil
}
