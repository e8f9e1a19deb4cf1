package composefs

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/tree"
)

// Names of overlayfs' xattrs (kernel, overlayfs.rst), and of the escaped ones,
// which the overlay mount shows without the second "overlay.".
const (
	overlayPrefix  = "trusted.overlay."
	escapedPrefix  = overlayPrefix + "overlay."
	userPrefix     = "user.overlay."
	selinuxContext = "security.selinux"
)

// variant is what implementations differ in.
type variant struct {
	// version is the composefs format's, at least.
	version uint32
	// object returns the fs-verity digest that names a file's object, and the
	// kernel's number of its algorithm.
	object func(*tree.Inode) (digest []byte, algorithm byte)
}

// plain is what mkcomposefs writes when nothing else is asked for.
func plain() variant {
	return variant{object: func(i *tree.Inode) ([]byte, byte) { return i.Content.Verity[:], 1 }}
}

// converter makes the files of an image from a tree.
type converter struct {
	variant // whose version becomes 1 when there are whiteouts
	links   map[*tree.Inode]uint32
	files   map[*tree.Inode]*file
}

// fromTree returns the root of the image for a tree and the format's version.
func fromTree(t *tree.Tree, v variant) (root *file, version uint32, err error) {
	c := converter{variant: v, links: map[*tree.Inode]uint32{}, files: map[*tree.Inode]*file{}}
	err = t.Walk(func(path string, n *tree.Node) error {
		c.links[n.Inode]++
		if isWhiteout(n.Inode) {
			c.version = 1
		}
		if err := check(n.Inode); err != nil {
			return fmt.Errorf("writing /%s into a composefs image: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	root = c.file(t.Root, nil)
	root.attrs[overlayPrefix+"opaque"] = "y"
	root.addWhiteouts()
	return root, c.version, nil
}

// isWhiteout tells whether overlayfs would take the inode for a deleted file.
func isWhiteout(i *tree.Inode) bool {
	return i.Type() == tree.TypeChar && i.Major == 0 && i.Minor == 0
}

// file converts a node that is the first name of its inode, and what it holds.
func (c *converter) file(n *tree.Node, parent *file) *file {
	i := n.Inode
	f := &file{
		mode: i.Mode, links: c.links[i], uid: i.UID, gid: i.GID,
		mtime: i.Mtime, mtimeNsec: i.MtimeNsec,
		attrs: escape(i.Xattrs),
	}
	if !i.IsDir() { // a directory has one name, even if the tree shares its metadata
		c.files[i] = f
	}
	switch i.Type() {
	case tree.TypeRegular:
		f.setContent(i, c.object)
	case tree.TypeSymlink:
		f.target = i.Target
	case tree.TypeBlock, tree.TypeChar:
		f.rdev = i.Minor&0xff | i.Major<<8 | i.Minor&^0xff<<12
		if isWhiteout(i) {
			f.escapeWhiteout(parent, c.version)
		}
	case tree.TypeDir:
		c.addEntries(f, n, parent)
	}
	return f
}

// addEntries fills a directory.
func (c *converter) addEntries(f *file, n *tree.Node, parent *file) {
	if parent == nil {
		parent = f
	}
	f.entries = append(make([]entry, 0, len(n.Children())+2),
		entry{name: ".", file: f, link: true}, entry{name: "..", file: parent, link: true})
	for _, child := range n.Children() {
		known := c.files[child.Inode]
		e := entry{name: child.Name, file: known, link: known != nil}
		if known == nil {
			e.file = c.file(child, f)
		}
		f.entries = append(f.entries, e)
	}
	sortEntries(f.entries)
	f.countLinks()
}

func sortEntries(entries []entry) {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
}

// setContent keeps the bytes or, for an object, sends overlayfs to it.
func (f *file) setContent(i *tree.Inode, object func(*tree.Inode) ([]byte, byte)) {
	f.size = i.Size
	if i.Size == 0 {
		return
	}
	if i.Size <= tree.InlineMax {
		f.inline = i.Content.Inline
		return
	}
	// struct ovl_metacopy: version 0, length, flags 0, algorithm.
	digest, algorithm := object(i)
	f.attrs[overlayPrefix+"metacopy"] = string([]byte{0, byte(4 + len(digest)), 0, algorithm}) + string(digest)
	name := hex.EncodeToString(digest)
	f.attrs[overlayPrefix+"redirect"] = "/" + name[:2] + "/" + name[2:]
}

// escapeWhiteout makes a whiteout of the tree an ordinary file with xattrs that
// overlayfs shows as a whiteout, and marks its directory.
func (f *file) escapeWhiteout(parent *file, version uint32) {
	f.mode = f.mode&^tree.TypeMask | tree.TypeRegular
	f.rdev = 0
	for _, prefix := range []string{escapedPrefix, userPrefix} {
		f.attrs[prefix+"whiteout"] = ""
		parent.attrs[prefix+"whiteouts"] = ""
		if version >= 1 {
			parent.attrs[prefix+"opaque"] = "x"
		}
	}
}

// escape keeps overlayfs from acting upon xattrs that belong to the tree.
func escape(xattrs map[string]string) map[string]string {
	attrs := make(map[string]string, len(xattrs)+2)
	for name, value := range xattrs {
		if rest, ok := strings.CutPrefix(name, overlayPrefix); ok {
			name = escapedPrefix + rest
		}
		attrs[name] = value
	}
	return attrs
}

// addWhiteouts hides the object folders 00 to ff, which lie in the root of the
// overlay's data layer.
func (f *file) addWhiteouts() {
	used := map[string]bool{}
	for _, e := range f.entries {
		used[e.name] = true
	}
	attrs := maps.Clone(f.attrs)
	maps.DeleteFunc(attrs, func(name, _ string) bool { return name != selinuxContext })
	for i := range 256 {
		name := fmt.Sprintf("%02x", i)
		if used[name] {
			continue
		}
		whiteout := &file{
			mode: tree.TypeChar | 0o644, links: 1, uid: f.uid, gid: f.gid,
			mtime: f.mtime, mtimeNsec: f.mtimeNsec, attrs: attrs,
		}
		f.entries = append(f.entries, entry{name: name, file: whiteout})
	}
	sortEntries(f.entries)
}

// Limits of mkcomposefs beyond those of EROFS.
const (
	maxTarget     = 4095    // bytes of a symlink's target
	maxXattrs     = 32767   // bytes of all xattrs of a file, its entries included
	maxXattrName  = 255     // bytes, prefix included
	maxFile       = 1 << 43 // bytes; more would need a second chunk
	maxMajor      = 1<<12 - 1
	maxMinor      = 1<<20 - 1
	xattrOverhead = 7 // counted for each xattr
)

// check tells what an image can't hold of an inode.
func check(i *tree.Inode) error {
	if i.Mode > 0xffff || erofs.FileType(i.Mode) == 0 {
		return fmt.Errorf("mode %#o is none of a file", i.Mode)
	}
	if i.MtimeNsec > 999_999_999 {
		return fmt.Errorf("modification time: %d nanoseconds", i.MtimeNsec)
	}
	switch i.Type() {
	case tree.TypeRegular:
		if err := checkContent(i); err != nil {
			return err
		}
	case tree.TypeSymlink:
		if i.Target == "" || len(i.Target) > maxTarget || strings.ContainsRune(i.Target, 0) {
			return fmt.Errorf("symbolic link target %.40q: it must have 1 to %d bytes, none of them NUL", i.Target, maxTarget)
		}
	case tree.TypeBlock, tree.TypeChar:
		if i.Major > maxMajor || i.Minor > maxMinor {
			return fmt.Errorf("device number %d:%d: the largest is %d:%d", i.Major, i.Minor, maxMajor, maxMinor)
		}
	}
	return checkXattrs(i.Xattrs)
}

func checkContent(i *tree.Inode) error {
	inline := int64(len(i.Content.Inline))
	switch {
	case i.Size < 0 || i.Size > maxFile:
		return fmt.Errorf("a file of %d bytes: the largest is %d", i.Size, int64(maxFile))
	case i.Size > tree.InlineMax && (inline > 0 || i.Content.Verity == tree.Digest{}):
		return fmt.Errorf("a file of %d bytes, more than %d, must be an object with a digest", i.Size, tree.InlineMax)
	case i.Size <= tree.InlineMax && inline != i.Size:
		return fmt.Errorf("a file of %d bytes has %d bytes inline", i.Size, inline)
	}
	return nil
}

func checkXattrs(xattrs map[string]string) error {
	total := xattrHeaderSize
	for name, value := range xattrs {
		if name == "" || len(name) > maxXattrName || strings.ContainsRune(name, 0) {
			return fmt.Errorf("extended attribute name %.40q: it must have 1 to %d bytes, none of them NUL", name, maxXattrName)
		}
		total += xattrOverhead + len(name) + len(value)
	}
	if total > maxXattrs && len(xattrs) > 0 {
		return fmt.Errorf("extended attributes of %d bytes: at most %d fit", total, maxXattrs)
	}
	return nil
}
