// Package directory reads a root from a folder of the build host.
//
// Modes, hard links, symbolic links, devices and times are taken as they are;
// times later than the build epoch become the epoch, since a checkout or an
// unpacked archive gives files the time of day. Of the extended attributes
// those are taken that mean the same on every machine: user.*, POSIX access
// control lists and security.capability. Security labels are the host's own.
//
// Owners: what belongs to the building user or its group belongs to root in the
// tree, so that an ordinary user can prepare a root; rules set other owners.
package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Owner is a rule: Path, and what is below it, belongs to UID and GID. Of
// several rules the last that fits decides.
type Owner struct {
	Path     string // in the root
	UID, GID uint32
}

// Source is a folder.
type Source struct {
	Path string
	// UID and GID are the building user's: they become root.
	UID, GID uint32
	Owners   []Owner
	Limits   source.Limits
}

// Pin returns a digest of the folder's content, "sha256:<hex>".
func (d Source) Pin(ctx context.Context, s *store.Store, epoch int64) (string, error) {
	t, err := d.Load(ctx, s, epoch)
	if err != nil {
		return "", err
	}
	return "sha256:" + source.Digest(t), nil
}

// Read reads the folder, which must still have the digest that Pin returned.
func (d Source) Read(ctx context.Context, s *store.Store, epoch int64, pin string) (*tree.Tree, error) {
	t, err := d.Load(ctx, s, epoch)
	if err != nil {
		return nil, err
	}
	if "sha256:"+source.Digest(t) != pin {
		return nil, fault.Inputf("reading %q: the folder has changed since the plan was made", d.Path).WithFix("build again")
	}
	return t, nil
}

// Load reads the folder into a tree. What can't be read, sockets, and rules for
// paths that don't exist are errors of class fault.Input.
func (d Source) Load(ctx context.Context, s *store.Store, epoch int64) (*tree.Tree, error) {
	root, err := os.OpenRoot(d.Path)
	if err != nil {
		return nil, fault.Inputf("reading the root: %w", err).WithFix("correct root.directory.path, or make the folder")
	}
	t, err := d.read(ctx, root, s, epoch)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fault.Inputf("%w", err).WithFix("build as a user who may read all of the folder")
		}
		return nil, source.Explain(fault.Input, fmt.Errorf("reading the root %q: %w", d.Path, err), "let nothing change the folder while it is read")
	}
	if err := d.applyOwners(t); err != nil {
		return nil, err
	}
	source.Clamp(t, epoch)
	return t, nil
}

// applyOwners sets the owners of the rules, in order.
func (d Source) applyOwners(t *tree.Tree) error {
	for _, o := range d.Owners {
		top, err := t.Lookup(o.Path)
		if err != nil {
			return fault.Inputf("setting the owner of %q: %w", o.Path, err).WithFix("name a path that the folder has")
		}
		setOwner(top, o)
	}
	return nil
}

func setOwner(n *tree.Node, o Owner) {
	n.Inode.UID, n.Inode.GID = o.UID, o.GID
	for _, c := range n.Children() {
		setOwner(c, o)
	}
}
