// Package tree holds a file tree in memory: metadata only. The contents of
// regular files live in the object store (package store); a tree names them by
// digest.
//
// A tree is what every root source produces, what overlays are laid over and
// what every format writer reads, so its rules are those of an unpacked Linux
// root: names are byte strings, hard links share one inode, and directory
// symlinks of the root (usr-merge: /sbin -> usr/sbin) are followed when files
// are put below them, as dpkg does.
package tree

import (
	"cmp"
	"slices"
)

// File type bits of Inode.Mode, as in stat(2) (inode(7)).
const (
	TypeMask    = 0o170000
	TypeSocket  = 0o140000
	TypeSymlink = 0o120000
	TypeRegular = 0o100000
	TypeBlock   = 0o060000
	TypeDir     = 0o040000
	TypeChar    = 0o020000
	TypeFifo    = 0o010000
)

// Digest is a SHA-256 sized digest.
type Digest [32]byte

// Content names the bytes of a regular file.
type Content struct {
	// SHA256 is the plain digest of the bytes.
	SHA256 Digest
	// Verity is the fs-verity digest (SHA-256, 4096-byte blocks, no salt); the
	// object store files the bytes under it.
	Verity Digest
	// Inline holds the bytes themselves when there are at most InlineMax of
	// them; such content is not in the object store.
	Inline []byte
}

// InlineMax is the largest file, in bytes, that composefs keeps in its metadata
// image (LCFS_RECOMMENDED_INLINE_CONTENT_MAX of composefs 1.0).
const InlineMax = 64

// Inode is everything of a file but its names.
type Inode struct {
	Mode       uint32 // st_mode: type and permission bits
	UID, GID   uint32
	Mtime      int64  // seconds since 1970
	MtimeNsec  uint32 // 0..999999999
	Major      uint32 // devices only
	Minor      uint32
	Size       int64   // regular files: bytes
	Content    Content // regular files
	Target     string  // symlinks
	Xattrs     map[string]string
	linkNumber int
}

// Type returns the type bits of the mode.
func (i *Inode) Type() uint32 { return i.Mode & TypeMask }

// IsDir tells whether the inode is a directory.
func (i *Inode) IsDir() bool { return i.Type() == TypeDir }

// IsRegular tells whether the inode is a regular file.
func (i *Inode) IsRegular() bool { return i.Type() == TypeRegular }

// IsSymlink tells whether the inode is a symbolic link.
func (i *Inode) IsSymlink() bool { return i.Type() == TypeSymlink }

// Links returns the number of names in the tree that share the inode; it is 1
// for directories.
func (i *Inode) Links() int { return i.linkNumber }

// Node is a name in a tree: an inode and, for a directory, what it holds.
type Node struct {
	Name  string // one path element; "" for the root
	Inode *Inode

	parent   *Node   // the root's is itself
	children []*Node // sorted by Name, bytewise
}

// Children returns the entries of a directory in bytewise order of their
// names. The caller must not change the slice.
func (n *Node) Children() []*Node { return n.children }

// Child returns the entry of that name, or nil.
func (n *Node) Child(name string) *Node {
	if i, ok := n.find(name); ok {
		return n.children[i]
	}
	return nil
}

// pathLength returns the length of a node's path in bytes, 0 for the root.
func (n *Node) pathLength() int {
	length := 0
	for ; n != n.parent; n = n.parent {
		if length > 0 {
			length += len("/")
		}
		length += len(n.Name)
	}
	return length
}

func (n *Node) find(name string) (int, bool) {
	return slices.BinarySearchFunc(n.children, name, func(c *Node, s string) int {
		return cmp.Compare(c.Name, s)
	})
}

// set adds child or replaces the entry of its name.
func (n *Node) set(child *Node) {
	child.Inode.linkNumber++
	child.parent = n
	i, ok := n.find(child.Name)
	if !ok {
		n.children = slices.Insert(n.children, i, child)
		return
	}
	n.children[i].release()
	n.children[i] = child
}

func (n *Node) remove(name string) bool {
	i, ok := n.find(name)
	if ok {
		n.children[i].release()
		n.children = slices.Delete(n.children, i, i+1)
	}
	return ok
}

// release takes the node and all below it out of their inodes' link counts.
func (n *Node) release() {
	n.Inode.linkNumber--
	for _, c := range n.children {
		c.release()
	}
}
