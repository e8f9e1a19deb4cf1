package sbom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/anchore/syft/syft/file"
	"github.com/bmatcuk/doublestar/v4"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// resolver shows a tree and its object store to syft's catalogers, so that
// nothing has to be unpacked. Symlinks are resolved inside the tree only. It
// is read-only and safe for use by several goroutines.
type resolver struct {
	tree  *tree.Tree
	store *store.Store
	// files holds the path of every regular file, as "/usr/bin/x".
	files []string
}

var _ file.Resolver = (*resolver)(nil)

func newResolver(t *tree.Tree, s *store.Store) (*resolver, error) {
	r := &resolver{tree: t, store: s}
	err := t.Walk(func(p string, n *tree.Node) error {
		if n.Inode.IsRegular() {
			r.files = append(r.files, "/"+p)
		}
		return nil
	})
	return r, err
}

func (r *resolver) regular(name string) *tree.Node {
	n, err := r.tree.Resolve(name)
	if err != nil || !n.Inode.IsRegular() {
		return nil
	}
	return n
}

// HasPath tells whether a file or folder is there.
func (r *resolver) HasPath(name string) bool {
	_, err := r.tree.Resolve(name)
	return err == nil
}

// FilesByPath returns the regular files among the paths.
func (r *resolver) FilesByPath(paths ...string) ([]file.Location, error) {
	var found []file.Location
	for _, p := range paths {
		if n := r.regular(p); n != nil {
			found = append(found, file.NewVirtualLocation("/"+r.tree.PathOf(n), absolute(p)))
		}
	}
	return found, nil
}

// FilesByGlob returns the regular files whose own path matches a pattern.
func (r *resolver) FilesByGlob(patterns ...string) ([]file.Location, error) {
	var found []file.Location
	for _, pattern := range patterns {
		pattern = absolute(pattern)
		if !doublestar.ValidatePattern(pattern) {
			return nil, fmt.Errorf("matching %q: bad pattern", pattern)
		}
		for _, name := range r.files {
			if doublestar.MatchUnvalidated(pattern, name) {
				found = append(found, file.NewLocation(name))
			}
		}
	}
	return found, nil
}

// FilesByMIMEType is not offered: no cataloger in use asks for it.
func (r *resolver) FilesByMIMEType(...string) ([]file.Location, error) {
	return nil, errors.New("matching MIME types: not offered for a file tree")
}

// RelativeFileByPath returns the file at an absolute path of the same tree.
func (r *resolver) RelativeFileByPath(_ file.Location, name string) *file.Location {
	found, err := r.FilesByPath(name)
	if err != nil || len(found) == 0 {
		return nil
	}
	return &found[0]
}

// AllLocations sends every regular file until ctx is done.
func (r *resolver) AllLocations(ctx context.Context) <-chan file.Location {
	out := make(chan file.Location)
	go func() {
		defer close(out)
		for _, name := range r.files {
			select {
			case out <- file.NewLocation(name):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// FileContentsByLocation opens a file.
func (r *resolver) FileContentsByLocation(l file.Location) (io.ReadCloser, error) {
	n := r.regular(l.RealPath)
	if n == nil {
		return nil, fmt.Errorf("opening %q: %w", l.RealPath, fs.ErrNotExist)
	}
	return r.store.Open(n.Inode.Content)
}

// FileMetadataByLocation returns what the tree knows of a file.
func (r *resolver) FileMetadataByLocation(l file.Location) (file.Metadata, error) {
	n := r.regular(l.RealPath)
	if n == nil {
		return file.Metadata{}, fmt.Errorf("describing %q: %w", l.RealPath, fs.ErrNotExist)
	}
	return file.Metadata{Path: l.RealPath, UserID: int(n.Inode.UID), GroupID: int(n.Inode.GID)}, nil
}

func absolute(p string) string {
	if strings.HasPrefix(p, "**") {
		return "/" + p
	}
	return path.Join("/", p)
}
