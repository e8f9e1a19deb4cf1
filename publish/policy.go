package publish

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Policy says whose signatures are believed, and what must be signed. The trust
// root and the two patterns belong together: a development trust root can
// certify any name, so it must never stand beside production patterns.
type Policy struct {
	// TrustedRoot is the JSON of Sigstore's trusted_root.json; when empty, it is
	// read from the file TrustedRootPath.
	TrustedRoot     []byte
	TrustedRootPath string
	// IdentityRegexp and IssuerRegexp (RE2) must match the whole of the
	// certificate's subject alternative name and of the token issuer.
	IdentityRegexp, IssuerRegexp string
	// RequirePredicates are predicate types of which a valid attestation must be
	// attached, beside the signature, which is always required.
	RequirePredicates []string

	// AllowNoSCT, AllowNoLog and AllowLogTime relax what is required by default:
	// a signed certificate timestamp, an entry in a transparency log, and a
	// timestamp from an authority rather than from the log (Rekor v1).
	AllowNoSCT, AllowNoLog, AllowLogTime bool
}

// maxPattern bounds a pattern, in bytes.
const maxPattern = 4 << 10

// strangers are identities and issuers that belong to nobody (RFC 2606,
// ".invalid"). A pattern that matches one matches everybody.
func strangers() []string {
	return []string{
		"x", "https://stranger.invalid", "https://stranger.invalid/x/y/.github/workflows/z.yml@refs/heads/main",
		"stranger@mail.invalid", "http://stranger.invalid:8080/realms/x", "spiffe://stranger.invalid/ns/x/sa/y",
	}
}

// Check tells whether the patterns can be used. The warnings name what works
// but is probably not what was meant.
func (p Policy) Check() (warnings []string, err error) {
	for _, c := range []struct{ name, pattern string }{
		{"identity", p.IdentityRegexp}, {"issuer", p.IssuerRegexp},
	} {
		warning, err := checkPattern(c.name, c.pattern)
		if err != nil {
			return nil, err
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings, nil
}

func checkPattern(name, pattern string) (warning string, err error) {
	if strings.TrimSpace(pattern) == "" {
		return "", fault.Inputf("reading the %s pattern: it is empty", name).WithFix("name who may sign")
	}
	if len(pattern) > maxPattern {
		return "", fault.Inputf("reading the %s pattern: it has more than %d bytes", name, maxPattern)
	}
	// On its own first: `a)|(b` must not close the group that anchors it.
	if _, err := regexp.Compile(pattern); err != nil {
		return "", fault.Inputf("reading the %s pattern %q: %w", name, pattern, err)
	}
	whole, err := regexp.Compile(anchored(pattern))
	if err != nil {
		return "", fault.Inputf("reading the %s pattern %q: %w", name, pattern, err)
	}
	for _, s := range strangers() {
		if whole.MatchString(s) {
			return "", fault.Inputf("reading the %s pattern %q: it matches strangers such as %q", name, pattern, s).WithFix("name who may sign")
		}
	}
	if i := looseDot(pattern); i >= 0 {
		warning = fmt.Sprintf("the dot at byte %d of the %s pattern %q matches any character: write `\\.` for a dot", i+1, name, pattern)
	}
	return warning, nil
}

// anchored makes a pattern match whole strings only.
func anchored(pattern string) string { return `\A(?:` + pattern + `)\z` }

// looseDot returns the offset of the first dot that is neither escaped, nor in a
// class, nor repeated; -1 when there is none.
func looseDot(pattern string) int {
	class := false
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			if strings.HasPrefix(pattern[i:], `\Q`) {
				end := strings.Index(pattern[i:], `\E`)
				if end < 0 {
					return -1
				}
				i += end
			}
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
			if i+1 < len(pattern) && pattern[i+1] == '^' {
				i++
			}
			if i+1 < len(pattern) && pattern[i+1] == ']' {
				i++ // a bracket that comes first is a member
			}
		case c == '.' && (i+1 == len(pattern) || !strings.ContainsRune("*+?{", rune(pattern[i+1]))):
			return i
		}
	}
	return -1
}

// compile returns the checker for the policy.
func (p Policy) compile() (checker, []string, error) {
	warnings, err := p.Check()
	if err != nil {
		return checker{}, nil, err
	}
	trusted, err := p.trustedRoot()
	if err != nil {
		return checker{}, nil, err
	}
	identity, err := verify.NewShortCertificateIdentity("", anchored(p.IssuerRegexp), "", anchored(p.IdentityRegexp))
	if err != nil {
		return checker{}, nil, fault.Inputf("reading the identity and issuer patterns: %w", err)
	}
	v, err := thresholds{scts: !p.AllowNoSCT, logs: !p.AllowNoLog, logTime: p.AllowLogTime}.verifier(trusted)
	if err != nil {
		return checker{}, nil, fault.Inputf("preparing to verify: %w", err)
	}
	return checker{verifier: v, identity: verify.WithCertificateIdentity(identity)}, warnings, nil
}

func (p Policy) trustedRoot() (*root.TrustedRoot, error) {
	raw := p.TrustedRoot
	if len(raw) == 0 {
		var err error
		if raw, err = readBounded(p.TrustedRootPath, maxManifest); err != nil {
			return nil, fault.Inputf("reading the trust root: %w", err).WithFix("name Sigstore's trusted_root.json")
		}
	}
	trusted, err := root.NewTrustedRootFromJSON(raw)
	if err != nil {
		return nil, fault.Inputf("reading the trust root: %w", err).WithFix("name Sigstore's trusted_root.json")
	}
	return trusted, nil
}
