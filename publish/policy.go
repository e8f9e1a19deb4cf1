package publish

import (
	"fmt"
	"regexp"
	"strings"
	"time"

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
	// PublicKey (PEM), or when that is empty the file PublicKeyPath, is the key to
	// verify with instead of an identity: then no pattern may be given, and the
	// trust root may be missing. Without it, no time and no log entry is asked for.
	PublicKey     []byte
	PublicKeyPath string
	// Now is the clock by which the trust root's end is warned of; nil means
	// time.Now. Signatures are judged by their timestamps only.
	Now func() time.Time
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

// keyed tells whether signatures are verified with a key.
func (p Policy) keyed() bool { return len(p.PublicKey) > 0 || p.PublicKeyPath != "" }

// Check tells whether the policy can be used: its patterns or key, and its trust
// root. The warnings name what works but is probably not what was meant, and a
// trust root that has ended or is about to.
func (p Policy) Check() (warnings []string, err error) {
	_, warnings, err = p.compile()
	return warnings, err
}

func (p Policy) checkPatterns() (warnings []string, err error) {
	if p.keyed() {
		if p.IdentityRegexp != "" || p.IssuerRegexp != "" {
			return nil, fault.Inputf("reading the policy: it names a key and an identity").WithFix("give a key, or both patterns")
		}
		return nil, nil
	}
	for _, c := range []struct{ name, pattern string }{
		{"identity", p.IdentityRegexp}, {"issuer", p.IssuerRegexp},
	} {
		more, err := checkPattern(c.name, c.pattern)
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, more...)
	}
	return warnings, nil
}

func checkPattern(name, pattern string) (warnings []string, err error) {
	if strings.TrimSpace(pattern) == "" {
		return nil, fault.Inputf("reading the %s pattern: it is empty", name).WithFix("name who may sign")
	}
	if len(pattern) > maxPattern {
		return nil, fault.Inputf("reading the %s pattern: it has more than %d bytes", name, maxPattern)
	}
	// On its own first: `a)|(b` must not close the group that anchors it.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, fault.Inputf("reading the %s pattern %q: %w", name, pattern, err)
	}
	whole, err := regexp.Compile(anchored(pattern))
	if err != nil {
		return nil, fault.Inputf("reading the %s pattern %q: %w", name, pattern, err)
	}
	for _, s := range strangers() {
		if whole.MatchString(s) {
			return nil, fault.Inputf("reading the %s pattern %q: it matches strangers such as %q", name, pattern, s).WithFix("name who may sign")
		}
	}
	if i := looseDot(pattern); i >= 0 {
		warnings = append(warnings, fmt.Sprintf("the dot at byte %d of the %s pattern %q matches any character: write `\\.` for a dot", i+1, name, pattern))
	}
	if w := hostWarning(name, pattern); w != "" {
		warnings = append(warnings, w)
	}
	return warnings, nil
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

// compile returns the checker for the policy, and its warnings.
func (p Policy) compile() (checker, []string, error) {
	warnings, err := p.checkPatterns()
	if err != nil {
		return checker{}, nil, err
	}
	var c checker
	if p.keyed() {
		c, err = p.compileKey()
	} else {
		c, err = p.compileIdentity()
	}
	if w := c.end.warning(p.now()); w != "" {
		warnings = append(warnings, w)
	}
	return c, warnings, err
}

func (p Policy) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

func (p Policy) compileIdentity() (checker, error) {
	trusted, err := p.trustedRoot()
	if err != nil {
		return checker{}, err
	}
	identity, err := verify.NewShortCertificateIdentity("", anchored(p.IssuerRegexp), "", anchored(p.IdentityRegexp))
	if err != nil {
		return checker{}, fault.Inputf("reading the identity and issuer patterns: %w", err)
	}
	v, err := thresholds{scts: !p.AllowNoSCT, logs: !p.AllowNoLog, logTime: p.AllowLogTime}.verifier(trusted)
	if err != nil {
		return checker{}, fault.Inputf("preparing to verify: %w", err)
	}
	return checker{verifier: v, identity: verify.WithCertificateIdentity(identity), end: findTrustEnd(trusted)}, nil
}

// compileKey returns the checker for a policy with a key.
func (p Policy) compileKey() (checker, error) {
	raw := p.PublicKey
	if len(raw) == 0 {
		var err error
		if raw, err = readBounded(p.PublicKeyPath, maxKey); err != nil {
			return checker{}, fault.Inputf("reading the public key: %w", err)
		}
	}
	key, err := parsePublicKey(raw)
	if err != nil {
		return checker{}, fault.Inputf("reading the public key %q: %w", p.PublicKeyPath, err).WithFix("name the public key of who signed, not the private one")
	}
	need := thresholds{noTime: true}
	var trusted root.TrustedMaterial
	if len(p.TrustedRoot) > 0 || p.TrustedRootPath != "" {
		if trusted, err = p.trustedRoot(); err != nil {
			return checker{}, err
		}
		need = thresholds{logs: !p.AllowNoLog, logTime: p.AllowLogTime}
	}
	trusted = newKeyRoot(trusted, key)
	v, err := need.verifier(trusted)
	if err != nil {
		return checker{}, fault.Inputf("preparing to verify: %w", err)
	}
	return checker{verifier: v, identity: verify.WithKey(), key: key.name, end: findTrustEnd(trusted)}, nil
}

func (p Policy) trustedRoot() (*root.TrustedRoot, error) {
	raw := p.TrustedRoot
	if len(raw) == 0 {
		if p.TrustedRootPath == "" {
			return nil, fault.Inputf("reading the trust root: none is named").WithFix("name Sigstore's trusted_root.json with --trusted-root")
		}
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
