package apt

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
)

// Repository is a further suite that packages are taken from: of the same
// archive, as its updates, or of another, as a vendor's.
type Repository struct {
	// Mirror, Suite, Components and Keyring are what they are in Archive. An
	// empty Mirror is the archive's, and so is an empty Keyring.
	Mirror, Suite string
	Components    []string
	Keyring       string
}

// Release is the state of a suite.
type Release struct {
	Suite string `json:"suite"`
	// Date is the release's own, SHA256 the digest of the text that was signed
	// (of the Release file, that is).
	Date   time.Time `json:"date"`
	SHA256 string    `json:"sha256"`
}

// repository returns the archive as which a repository is read: the archive
// itself for 0, else the nth of its repositories.
func (a *Archive) repository(n int) (*Archive, error) {
	if n == 0 {
		return a, nil
	}
	if n < 0 || n > len(a.Repositories) {
		return nil, fault.Inputf("reading repository %d of %s: there are %d", n, a.field(), len(a.Repositories))
	}
	r, copied := a.Repositories[n-1], *a
	copied.Mirror, copied.Suite, copied.Components = cmp.Or(r.Mirror, a.Mirror), r.Suite, r.Components
	copied.Keyring = cmp.Or(r.Keyring, a.Keyring, DefaultKeyring(a.Suite))
	copied.Field = fmt.Sprintf("%s.repositories[%d]", a.field(), n-1)
	copied.Repositories = nil
	return &copied, nil
}

// field returns the definition's name of the archive.
func (a *Archive) field() string { return cmp.Or(a.Field, "root.packages") }

// suite is a verified release with the indices that an architecture needs.
type suite struct {
	archive *Archive
	release *release
	files   []indexFile
}

// suites reads the releases of the archive and of its repositories.
func (a *Archive) suites(ctx context.Context) ([]suite, error) {
	var all []suite
	for n := range len(a.Repositories) + 1 {
		archive, err := a.repository(n)
		if err != nil {
			return nil, err
		}
		s := suite{archive: archive}
		if s.release, err = archive.release(ctx); err == nil {
			s.files, err = archive.indexFiles(s.release)
		}
		if err != nil && n > 0 {
			err = fmt.Errorf("%s: %w", archive.Field, err)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// describe names the suites for messages.
func describe(all []suite) string {
	var names []string
	for _, s := range all {
		names = append(names, fmt.Sprintf("%q", s.archive.Suite))
	}
	if len(names) == 1 {
		return "suite " + names[0]
	}
	return "suites " + strings.Join(names, ", ")
}

// releases returns the states of the suites after the first.
func releases(all []suite) []Release {
	var rest []Release
	for _, s := range all[1:] {
		rest = append(rest, Release{Suite: s.archive.Suite, Date: s.release.date, SHA256: s.release.sha256})
	}
	return rest
}
