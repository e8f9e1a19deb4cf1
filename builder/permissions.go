package builder

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/tree"
)

// applyPermissions sets the modes and owners that a definition lists.
func applyPermissions(t *tree.Tree, f *spec.File, list []spec.Access) error {
	for i, a := range list {
		n, err := t.Resolve(a.Path)
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("the root has no such path")
		}
		if err != nil {
			return f.Bad(fmt.Sprintf("permissions[%d].path", i), "%q: %v", a.Path, err).WithFix("name a path that the root's source or the overlay brings")
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
