package apt

import (
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/source/deb"
	"github.com/powernode/bootsmith/builder/tree"
)

// mergeUsr makes /bin, /sbin and /lib* symlinks to their namesakes in /usr when
// packages still ship files there: Debian 12 and Ubuntu 22.04 expect the
// installer to do it (UsrMerge; debootstrap's setup_merged_usr), later releases
// bring the links in base-files. Roots without base-files are left alone: they
// are not a distribution's.
func mergeUsr(t *tree.Tree, packages []*deb.Package, mtime int64) error {
	if !slices.ContainsFunc(packages, func(p *deb.Package) bool { return p.Field("Package") == "base-files" }) {
		return nil
	}
	for _, p := range packages {
		for i := range p.Entries {
			e := &p.Entries[i]
			if !aliased(e.Path) || !e.Inode.IsDir() || t.Root.Child(e.Path) != nil {
				continue
			}
			dir := tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: mtime}
			if n, err := t.Lookup("usr/" + e.Path); err != nil || !n.Inode.IsDir() {
				if err := t.Put("usr/"+e.Path, &dir); err != nil {
					return err
				}
			}
			link := tree.Inode{Mode: tree.TypeSymlink | 0o777, Mtime: mtime, Target: "usr/" + e.Path}
			if err := t.Put(e.Path, &link); err != nil {
				return err
			}
		}
	}
	return nil
}

// aliased tells whether a path is a top-level directory that UsrMerge moves.
func aliased(path string) bool {
	return path == "bin" || path == "sbin" || strings.HasPrefix(path, "lib") && !strings.Contains(path, "/")
}
