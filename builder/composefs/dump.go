package composefs

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// WriteDump writes a tree as composefs-dump(5) text, one line per name, which
// mkcomposefs --from-file turns into the image that WriteImage writes. The size
// of directories, which nothing reads, is 0.
func WriteDump(w io.Writer, t *tree.Tree) error {
	links := map[*tree.Inode]uint32{}
	_ = t.Walk(func(_ string, n *tree.Node) error { links[n.Inode]++; return nil })
	buf := bufio.NewWriter(w)
	first := map[*tree.Inode]string{}
	err := t.Walk(func(path string, n *tree.Node) error {
		path = "/" + path
		target, linked := first[n.Inode]
		if !linked && !n.Inode.IsDir() {
			first[n.Inode] = path
		}
		_, err := buf.WriteString(dumpLine(path, n.Inode, links[n.Inode], target))
		return err
	})
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return fmt.Errorf("writing the composefs dump: %w", err)
	}
	return nil
}

// dumpLine returns a name's line. target is the inode's earlier name, or "".
func dumpLine(path string, i *tree.Inode, links uint32, target string) string {
	mark, payload, content, digest := "", "-", "-", "-"
	size, rdev := int64(0), uint64(0)
	switch i.Type() {
	case tree.TypeSymlink:
		size, payload = int64(len(i.Target)), dumpEscape(i.Target, false)
	case tree.TypeRegular:
		size = i.Size
		if size > tree.InlineMax {
			payload, digest = store.Path(i.Content.Verity), fmt.Sprintf("%x", i.Content.Verity)
		} else if size > 0 {
			content = dumpEscape(string(i.Content.Inline), false)
		}
	case tree.TypeBlock, tree.TypeChar:
		rdev = uint64(i.Minor&0xff | i.Major<<8 | i.Minor&^0xff<<12)
	case tree.TypeDir:
		links = 1
	}
	if target != "" {
		mark, payload = "@", dumpEscape(target, false)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s%o %d %d %d %d %d.%d %s %s %s", dumpEscape(path, false), size, mark, i.Mode,
		links, i.UID, i.GID, rdev, i.Mtime, i.MtimeNsec, payload, content, digest)
	for _, name := range slices.Sorted(maps.Keys(i.Xattrs)) {
		fmt.Fprintf(&b, " %s=%s", dumpEscape(name, true), dumpEscape(i.Xattrs[name], true))
	}
	b.WriteByte('\n')
	return b.String()
}

// dumpEscape escapes a field: whatever is not a visible ASCII character, the
// backslash, the equals sign in xattrs, and a field that is only "-".
func dumpEscape(s string, equals bool) string {
	if s == "-" {
		return `\x2d`
	}
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c == '\\':
			b.WriteString(`\\`)
		case c <= ' ' || c > '~' || equals && c == '=':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
