package bootc

import (
	"errors"
	"fmt"
	"io"

	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/tree"
)

// DigestKey names the digest of Digest among a manifest's annotations
// (composefs-rs, crates/composefs-oci/src/sealing_spec.rs, "Annotation key
// scheme").
const DigestKey = "composefs.merged.bootable.erofs.v1.fsverity-sha512-12"

// ErrPolicy is returned by Digest for a root with an SELinux policy: bootc labels
// every file by it first, which this package can't.
var ErrPolicy = errors.New("the root has an SELinux policy")

// Digest computes what `bootc container compute-composefs-digest` does for the
// root of an image: the fs-verity digest, with SHA-512, of the composefs image
// of format V1 that a machine boots from. objects returns the SHA-512 fs-verity
// digest of a content of more than tree.InlineMax bytes.
func Digest(root *tree.Tree, objects func(tree.Content) ([64]byte, error)) (digest [64]byte, err error) {
	seen, err := bootable(root)
	if err != nil {
		return digest, fmt.Errorf("computing bootc's digest: %w", err)
	}
	return composefs.WriteImage512(io.Discard, seen, objects)
}

// bootable returns the root as bootc sees it (composefs-rs, transform_for_oci
// and transform_for_boot): "/" has the metadata of /usr, whose time /run, /boot
// and /sysroot have, too; these three are empty; of the extended attributes only
// security.capability is left.
func bootable(root *tree.Tree) (*tree.Tree, error) {
	usr, err := topDir(root, "usr")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"boot", "sysroot"} {
		if _, err := topDir(root, name); err != nil {
			return nil, err
		}
	}
	if _, err := root.Lookup("etc/selinux/config"); err == nil {
		return nil, ErrPolicy
	}
	out := tree.New(0)
	copies := map[*tree.Inode]*tree.Inode{} // keeps hard links
	err = root.Walk(func(path string, n *tree.Node) error {
		inode := copies[n.Inode]
		if inode == nil {
			source := n.Inode
			if path == "" {
				source = usr
			}
			inode = stripped(source)
			copies[n.Inode] = inode
		}
		switch path {
		case "run":
			inode.Mtime, inode.MtimeNsec = usr.Mtime, usr.MtimeNsec
		case "boot", "sysroot":
			inode.Mtime = usr.Mtime
		}
		return out.Put(path, inode)
	})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"run", "boot", "sysroot"} {
		if err := empty(out, name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// topDir returns a directory of the root, which must be there and not be a
// symbolic link.
func topDir(root *tree.Tree, name string) (*tree.Inode, error) {
	n, err := root.Lookup(name)
	if err == nil && !n.Inode.IsDir() {
		err = fmt.Errorf("/%s is not a directory", name)
	}
	if err != nil {
		return nil, err
	}
	return n.Inode, nil
}

// stripped copies an inode without most of its extended attributes.
func stripped(i *tree.Inode) *tree.Inode {
	c := *i
	c.Xattrs = nil
	if v, ok := i.Xattrs["security.capability"]; ok {
		c.Xattrs = map[string]string{"security.capability": v}
	}
	return &c
}

// empty removes what a directory of the root holds, if there is one.
func empty(t *tree.Tree, name string) error {
	n, err := t.Lookup(name)
	if err != nil {
		return nil
	}
	var names []string
	for _, c := range n.Children() {
		names = append(names, name+"/"+c.Name)
	}
	for _, c := range names {
		if err := t.Remove(c); err != nil {
			return err
		}
	}
	return nil
}
