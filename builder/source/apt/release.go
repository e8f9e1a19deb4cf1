package apt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/control"
)

const (
	// maxRelease bounds an InRelease file; the largest today has 300 kB.
	maxRelease = 16 << 20
	// futureTolerance is how far a release may lie ahead of our clock.
	futureTolerance = 24 * time.Hour
)

// release is a verified InRelease file.
type release struct {
	suite, codename string
	date            time.Time
	validUntil      time.Time // zero: forever
	architectures   []string
	components      []string
	byHash          bool
	noAll           bool            // Packages of an architecture hold "all", too
	files           map[string]blob // by path below dists/<suite>
	sha256          string          // of the signed text
}

// release returns the suite's release file, from the cache while it is young
// enough, verified in either case.
func (a *Archive) release(ctx context.Context) (*release, error) {
	if err := checkMirror(a.Mirror); err != nil {
		return nil, err
	}
	if !validSuite(a.Suite) {
		return nil, fault.Inputf("reading suite %q: not a suite's name", a.Suite)
	}
	cached := a.releaseFile()
	if a.Offline || a.young(cached) {
		data, err := readBounded(cached, maxRelease)
		if err == nil {
			// One that is not good any more, or damaged, is fetched again.
			if rel, err := a.verifyRelease(data); err == nil || a.Offline {
				return rel, err
			}
		}
		if a.Offline {
			return nil, fault.Inputf("reading suite %q of %q: offline, and its release is not in the cache", a.Suite, a.Mirror).
				WithFix("build once with the network, or from a lock")
		}
	}
	data, err := a.downloadRelease(ctx)
	if err != nil {
		return nil, err
	}
	rel, err := a.verifyRelease(data)
	if err != nil {
		return nil, err
	}
	if err := a.keepRelease(cached, data); err != nil {
		return nil, fmt.Errorf("caching the release of suite %q: %w", a.Suite, err)
	}
	return rel, nil
}

func (a *Archive) downloadRelease(ctx context.Context) ([]byte, error) {
	var data []byte
	err := a.transfer(ctx, "dists/"+a.Suite+"/InRelease", func(body io.Reader) error {
		var err error
		if data, err = io.ReadAll(io.LimitReader(body, maxRelease+1)); err == nil && len(data) > maxRelease {
			err = fmt.Errorf("longer than %d bytes", maxRelease)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Inputf("reading suite %q: not found in %q", a.Suite, a.Mirror).
			WithFix("check the suite's name and the mirror")
	}
	return data, err
}

// releaseFile returns the path of the cached release; its modification time is
// when it was downloaded.
func (a *Archive) releaseFile() string {
	key := sha256.Sum256([]byte(strings.TrimRight(a.Mirror, "/") + "\n" + a.Suite))
	return filepath.Join(a.CacheDir, "release", hex.EncodeToString(key[:]), "InRelease")
}

func (a *Archive) young(file string) bool {
	st, err := os.Stat(file)
	if err != nil {
		return false
	}
	age := a.Now().Sub(st.ModTime())
	return age >= 0 && age < a.MaxAge
}

func (a *Archive) keepRelease(file string, data []byte) error {
	if err := writeFile(file, data); err != nil {
		return err
	}
	now := a.Now()
	return os.Chtimes(file, now, now)
}

// verifyRelease checks the signature, then what was signed.
func (a *Archive) verifyRelease(data []byte) (*release, error) {
	text, err := a.verifySignature(data)
	if err != nil {
		return nil, err
	}
	rel, err := parseRelease(text)
	if err != nil {
		return nil, fmt.Errorf("reading the release of suite %q in %q: %w", a.Suite, a.Mirror, err)
	}
	return rel, a.checkRelease(rel)
}

func (a *Archive) checkRelease(r *release) error {
	now := a.Now()
	switch {
	case r.suite != a.Suite && r.codename != a.Suite:
		return fault.Inputf("reading suite %q: %q serves suite %q, code name %q, in its place", a.Suite, a.Mirror, r.suite, r.codename)
	case !r.validUntil.IsZero() && now.After(r.validUntil):
		return fault.Inputf("reading suite %q: the release of %q expired on %s", a.Suite, a.Mirror, r.validUntil.UTC().Format(time.RFC3339)).
			WithFix("choose a mirror that is up to date, and check this machine's clock")
	case r.date.After(now.Add(futureTolerance)):
		return fault.Inputf("reading suite %q: the release of %q is dated %s, in the future", a.Suite, a.Mirror, r.date.UTC().Format(time.RFC3339)).
			WithFix("check this machine's clock")
	case !slices.Contains(r.architectures, a.Arch.Name):
		return fault.Inputf("reading suite %q: %q has no architecture %q; it has %s", a.Suite, a.Mirror, a.Arch.Name, strings.Join(r.architectures, ", "))
	}
	for _, c := range a.components() {
		if !slices.Contains(r.components, c) {
			return fault.Inputf("reading suite %q: %q has no component %q; it has %s", a.Suite, a.Mirror, c, strings.Join(r.components, ", "))
		}
	}
	return nil
}

// parseRelease reads the signed text of a release.
func parseRelease(text []byte) (*release, error) {
	stanzas, err := control.ReadStanzas(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(stanzas) != 1 {
		return nil, fmt.Errorf("%d stanzas instead of one", len(stanzas))
	}
	s := stanzas[0]
	sum := sha256.Sum256(text)
	r := &release{
		suite:         s.Get("Suite"),
		codename:      s.Get("Codename"),
		architectures: strings.Fields(s.Get("Architectures")),
		byHash:        s.Get("Acquire-By-Hash") == "yes",
		noAll:         strings.Contains(s.Get("No-Support-for-Architecture-all"), "Packages"),
		sha256:        hex.EncodeToString(sum[:]),
	}
	for _, c := range strings.Fields(s.Get("Components")) {
		// Security archives write "updates/main" and mean "main".
		r.components = append(r.components, c[strings.LastIndexByte(c, '/')+1:])
	}
	if r.date, err = parseDate(s.Get("Date")); err != nil {
		return nil, fmt.Errorf("field Date: %w", err)
	}
	if v := s.Get("Valid-Until"); v != "" {
		if r.validUntil, err = parseDate(v); err != nil {
			return nil, fmt.Errorf("field Valid-Until: %w", err)
		}
	}
	r.files, err = parseFiles(s.Get("SHA256"))
	return r, err
}

// parseFiles reads a list of files: digest, size in bytes and path.
func parseFiles(list string) (map[string]blob, error) {
	files := map[string]blob{}
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("field SHA256: line %q", strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(words[1], 10, 64)
		b := blob{sha256: words[0], size: size}
		if err != nil || b.check() != nil {
			return nil, fmt.Errorf("field SHA256: line %q", strings.TrimSpace(line))
		}
		files[words[2]] = b
	}
	return files, nil
}

// parseDate reads a release's dates, which RFC 5322 gives the form; some
// archives write a day of one digit.
func parseDate(s string) (time.Time, error) {
	t, err := time.Parse("Mon, _2 Jan 2006 15:04:05 MST", s)
	if err != nil {
		t, err = time.Parse(time.RFC1123Z, s)
	}
	return t.UTC(), err
}

// validSuite tells whether a suite's name can be part of a URL and of a path:
// words of letters, digits, - . _ joined by slashes ("bookworm/updates").
func validSuite(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if !control.ValidName(part) {
			return false
		}
	}
	return true
}
