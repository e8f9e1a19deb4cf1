// Package builder turns a definition into artifacts: it resolves a plan, which
// says in plain data what will be built from what, and runs the plan as a graph
// of stages that ends with build/<arch>/ for every architecture.
package builder

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/secureboot"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/bootstrap"
	"github.com/powernode/bootsmith/builder/source/image"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Version is the version of bootsmith.
const Version = "0.1.0"

// FormatVersion changes whenever the same inputs give other bytes; it is part
// of every plan.
const FormatVersion = 3

// ShapesOutput tells whether a Go module's version decides on bytes of the
// output.
func ShapesOutput(module string) bool {
	for _, m := range []string{"github.com/klauspost/compress", "github.com/cavaliergopher/cpio", "github.com/diskfs/go-diskfs", "github.com/google/go-containerregistry", "github.com/anchore/syft"} {
		if strings.HasPrefix(module, m) {
			return true
		}
	}
	return false
}

// Archive is a package archive, seen from one architecture.
type Archive interface {
	// ResolveEach picks the packages of each request from one verified index.
	ResolveEach(ctx context.Context, requests []apt.Request) ([]apt.Resolution, error)
	// Fetch downloads packages into the cache and verifies them.
	Fetch(ctx context.Context, packages []apt.Package, progress apt.Progress) error
	// Cached tells whether the cache has a package.
	Cached(p apt.Package) bool
	// UnpackRoot unpacks packages into a root, with the package manager's
	// database; its files get the modification time mtime (seconds since 1970).
	// Packages that are being fetched are waited for.
	UnpackRoot(ctx context.Context, t *tree.Tree, s *store.Store, packages []apt.Package, mtime int64) error
	// Open opens a package's .deb file after comparing all its bytes with the
	// digest.
	Open(ctx context.Context, p apt.Package) (*os.File, error)
	// UnpackInto unpacks one fetched package into a tree.
	UnpackInto(ctx context.Context, t *tree.Tree, s *store.Store, p apt.Package) error
}

// Config is what a plan and its run take from their surroundings.
type Config struct {
	// Archive returns the archive of the definition for an architecture.
	Archive func(f *spec.File, a arch.Arch) (Archive, error)
	// Images returns a registry's repository of container images.
	Images func(repository string) (image.Blobs, error)
	// Store holds file contents.
	Store *store.Store
	// SecureBoot signs the unified kernel image; nil means nobody does.
	SecureBoot *secureboot.Signer
	// Cache keeps what stages make; nil: nothing is kept.
	Cache *cache.Cache
	// CacheFrom has further results, CacheTo is given those that were made or
	// used; nil: none. They need Cache.
	CacheFrom, CacheTo cache.Remote
	// Program identifies the program: results of other ones are not taken from
	// the cache. A digest of the executable is best.
	Program string
	// UID and GID are the building user's: in a root that is read from a
	// folder, they become root.
	UID, GID uint32
	// SearchPath is the PATH of a definition's build script.
	SearchPath string
	// Host is the machine that bootstraps run on.
	Host bootstrap.Host
	// Exec runs git.
	Exec   Exec
	Now    func() time.Time
	Report Reporter
	// Jobs is how many stages run at a time.
	Jobs int
}
