// Package composefs writes composefs images and the root image that ships them.
//
// A composefs image is an EROFS file system that holds a tree's metadata and its
// smallest files; every other file is a redirect to an object, named by the
// fs-verity digest of its bytes. The kernel's overlayfs joins the two (mount
// options metacopy and redirect_dir, a data-only lower layer), so the fs-verity
// digest of the image vouches for every name, mode and byte of the tree.
//
// The image is byte-identical to what mkcomposefs 1.0 (the C implementation,
// format versions 0 and 1) writes for the same tree: inodes breadth first,
// directories sorted bytewise, contents of up to 64 bytes inline, xattrs that
// occur twice shared, the root made opaque and filled with 256 whiteouts that
// hide the object folders. Format version 1 is used when the tree holds overlay
// whiteouts, as mkcomposefs does by default. Hard links are kept: the inode lies
// where the first of its names in depth-first order puts it, which is what
// composefs-info(1) dump and mkcomposefs --from-file agree upon.
//
// The root image is an EROFS file system with 4096-byte blocks that holds the
// composefs image as /root.cfs and the objects below /objects, followed by a
// dm-verity superblock and hash tree (package dmverity).
//
// Sources: the kernel's Documentation/filesystems/erofs.rst, overlayfs.rst and
// fsverity.rst; composefs' man pages composefs(5) and composefs-dump(5) and the
// layout its library liblcfs writes.
package composefs
