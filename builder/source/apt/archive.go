// Package apt reads signed Debian and Ubuntu package archives: it verifies
// what an archive says, chooses packages and their dependencies, downloads
// them and unpacks them into a file tree, for any architecture on any host.
// Maintainer scripts are never run.
package apt

import (
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source"
)

// Archive is one suite of an archive, as seen by one architecture. It may be
// copied and used by several goroutines at a time; archives of several
// architectures may share a cache folder.
type Archive struct {
	// Mirror is the base URL of the archive: http, https or file; the folder
	// that holds "dists" and "pool". ChooseMirror finds one.
	Mirror string
	// Suite is a suite or code name: "trixie", "noble", "stable".
	Suite string
	// Components are searched in this order; none means "main".
	Components []string
	// Keyring is the file with the keys, binary or armored, that the release
	// must be signed by. "" means the distribution's own (DefaultKeyring).
	Keyring string
	// Repositories are further suites. Of a package that several have, the
	// highest version is taken, of equal ones the first.
	Repositories []Repository
	// Field is the archive's name in the definition, for messages; "" means
	// root.packages.
	Field string
	// Arch is the architecture that packages are for.
	Arch arch.Arch
	// CacheDir keeps downloads, resolutions and unpacked listings.
	CacheDir string
	// Client does the HTTP requests; nil means http.DefaultClient.
	Client *http.Client
	// Now is the clock that Valid-Until and MaxAge are judged by.
	Now func() time.Time
	// MaxAge is how long a release file is used without asking the mirror
	// for a newer one; 0 means to ask always.
	MaxAge time.Duration
	// Offline forbids the network: only the cache is used, however old.
	Offline bool
	// Limits bound what each package may bring; the zero value means
	// DefaultLimits.
	Limits source.Limits
	// Jobs limits parallel downloads and decompression; 0 means 4.
	Jobs int
	// Joint joins what several callers want of one package at one time, also of
	// several archives: its download, and what Unpack does; nil: each does the
	// work itself.
	Joint *singleflight.Group
	// Backoff is the pause before the first retry of a failed download, and
	// doubles with each; 0 means half a second.
	Backoff time.Duration
}

// Package is one package file in an archive: all that is needed to download
// it again and to know that it is the same.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Arch is the package's own: an architecture's name or "all".
	Arch string `json:"arch"`
	// Size is that of the .deb file in bytes, SHA256 its digest in
	// lower-case hexadecimal.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// PoolPath is the file's path below the archive's base URL.
	PoolPath string `json:"pool_path"`
	// Repository is where it is from: 0 for the archive itself, n for the nth
	// of its repositories.
	Repository int `json:"repository,omitempty"`
}

// Resolution is what a Request came to. It is pure data, and the same from every
// mirror.
type Resolution struct {
	Suite string `json:"suite"`
	Arch  string `json:"arch"`
	// ReleaseDate is the release's own date, ReleaseSHA256 the digest of the
	// text that was signed (of the Release file, that is).
	ReleaseDate   time.Time `json:"release_date"`
	ReleaseSHA256 string    `json:"release_sha256"`
	// Repositories are the states of the archive's repositories, in their
	// order.
	Repositories []Release `json:"repositories,omitempty"`
	// Packages are sorted by name.
	Packages []Package `json:"packages"`
}

// Request asks for packages.
type Request struct {
	// Names are packages, each perhaps with "=version".
	Names []string `json:"names"`
	// Follow says which dependencies come along.
	Follow Follow `json:"follow"`
	// Essential adds all packages without which none can be installed,
	// Priorities those of the given priorities (Debian Policy 2.5, 3.8).
	Essential  bool     `json:"essential,omitempty"`
	Priorities []string `json:"priorities,omitempty"`
	// Keep are packages of an earlier answer: where one of them will do, it is
	// chosen and no other.
	Keep []Package `json:"keep,omitempty"`
}

// Follow chooses the dependencies that a Request takes along. The zero value
// is for all of them; recommended packages never are.
type Follow struct {
	// None leaves all dependencies out.
	None bool `json:"none,omitempty"`
	// Prefix, when it is not "", limits them to packages whose name starts
	// with it: "linux-image-" leads from a kernel's meta package to the
	// kernel, and not to the tools that install it.
	Prefix string `json:"prefix,omitempty"`
}

func (a *Archive) components() []string {
	if len(a.Components) == 0 {
		return []string{"main"}
	}
	return a.Components
}

func (a *Archive) jobs() int {
	if a.Jobs <= 0 {
		return 4
	}
	return a.Jobs
}
