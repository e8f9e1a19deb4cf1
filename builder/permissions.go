package builder

import (
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/tree"
)

// applyPermissions sets the modes and owners that a definition lists.
func applyPermissions(t *tree.Tree, list []spec.Access) error {
	for _, a := range list {
		n, err := t.Resolve(a.Path)
		if err != nil {
			return fault.Inputf("setting permissions of %q: %w", a.Path, err).WithFix("name a path that packages or the overlay bring")
		}
		mode, err := a.ParseMode()
		if err != nil {
			return fault.Inputf("setting permissions of %q: %w", a.Path, err)
		}
		n.Inode.Mode = n.Inode.Type() | mode
		n.Inode.UID, n.Inode.GID = a.Owner, a.Group
	}
	return nil
}
