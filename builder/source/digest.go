package source

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/powernode/bootsmith/builder/tree"
)

// Digest returns a SHA-256 over everything that a tree says: names, metadata,
// contents and which names are hard links to one file. It is lower-case hex.
func Digest(t *tree.Tree) string {
	sum := sha256.New()
	first := map[*tree.Inode]string{}
	_ = t.Walk(func(path string, n *tree.Node) error { // a hash never fails
		i := n.Inode
		if name, again := first[i]; again {
			fmt.Fprintf(sum, "%q = %q\n", path, name)
			return nil
		}
		if !i.IsDir() {
			first[i] = path
		}
		fmt.Fprintf(sum, "%q %o %d:%d %d.%d %d:%d %d %x %q", path, i.Mode, i.UID, i.GID, i.Mtime, i.MtimeNsec, i.Major, i.Minor, i.Size, i.Content.SHA256, i.Target)
		for _, name := range slices.Sorted(maps.Keys(i.Xattrs)) {
			fmt.Fprintf(sum, " %q=%q", name, i.Xattrs[name])
		}
		fmt.Fprintln(sum)
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil))
}
