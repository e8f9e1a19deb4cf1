package compare

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

// kinds names the types of files.
var kinds = map[uint32]string{
	tree.TypeRegular: "file", tree.TypeDir: "folder", tree.TypeSymlink: "symlink", tree.TypeChar: "character device",
	tree.TypeBlock: "block device", tree.TypeFifo: "pipe", tree.TypeSocket: "socket",
}

// fileItems are a root's files. Their times are left out: the build's time stamp
// is in most of them.
func fileItems(t *tree.Tree) []Item {
	items := []Item{}
	_ = t.Walk(func(path string, n *tree.Node) error { // never fails
		items = append(items, Item{"/" + path, fileFields(n.Inode)})
		return nil
	})
	return items
}

func fileFields(i *tree.Inode) []Field {
	fields := []Field{
		{Name: "type", Value: kinds[i.Type()]},
		{Name: "mode", Value: fmt.Sprintf("%04o", i.Mode&0o7777)},
		{Name: "owner", Value: fmt.Sprintf("%d:%d", i.UID, i.GID)},
	}
	size, content, target, device := "", "", "", ""
	switch i.Type() {
	case tree.TypeRegular:
		size, content = fmt.Sprint(i.Size), fmt.Sprintf("%x", i.Content.Verity)
	case tree.TypeSymlink:
		target = i.Target
	case tree.TypeChar, tree.TypeBlock:
		device = fmt.Sprintf("%d:%d", i.Major, i.Minor)
	}
	var xattrs []string
	for _, name := range slices.Sorted(maps.Keys(i.Xattrs)) {
		xattrs = append(xattrs, fmt.Sprintf("%s=%x", name, i.Xattrs[name]))
	}
	return append(fields,
		Field{Name: "size", Value: size}, Field{Name: "content", Value: content}, Field{Name: "target", Value: target},
		Field{Name: "device", Value: device}, Field{Name: "xattrs", Value: strings.Join(xattrs, " ")})
}

// maxAccounts bounds a file with accounts, in bytes.
const maxAccounts = 1 << 20

// AccountFiles tells which files of a root have to be kept for its accounts.
func AccountFiles(path string) bool { return path == "etc/passwd" || path == "etc/group" }

// accountItems are the users and groups of a root (passwd(5), group(5)). The
// second result is false when the root can't tell.
func accountItems(t *tree.Tree, open func(tree.Content) (io.ReadCloser, error)) ([]Item, bool, error) {
	users, known, err := readAccounts(t, open, "etc/passwd")
	if err != nil || !known {
		return nil, known, err
	}
	groups, known, err := readAccounts(t, open, "etc/group")
	if err != nil || !known {
		return nil, known, err
	}
	items := []Item{}
	for _, u := range users {
		items = append(items, Item{"user " + u[0], []Field{
			{Name: "uid", Value: at(u, 2)}, {Name: "gid", Value: at(u, 3)}, {Name: "groups", Value: memberOf(u[0], groups)},
			{Name: "home", Value: at(u, 5)}, {Name: "shell", Value: at(u, 6)},
		}})
	}
	for _, g := range groups {
		items = append(items, Item{"group " + g[0], []Field{{Name: "gid", Value: at(g, 2)}, {Name: "members", Value: at(g, 3), Implied: true}}})
	}
	return items, true, nil
}

// readAccounts reads the lines of a file. A root without it has no accounts.
func readAccounts(t *tree.Tree, open func(tree.Content) (io.ReadCloser, error), path string) (lines [][]string, known bool, err error) {
	n, err := t.Resolve(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if err != nil || !n.Inode.IsRegular() {
		return nil, false, err
	}
	r, err := open(n.Inode.Content)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	s := bufio.NewScanner(io.LimitReader(r, maxAccounts))
	for s.Scan() {
		if fields := strings.Split(s.Text(), ":"); len(fields) > 1 {
			lines = append(lines, fields)
		}
	}
	if err := s.Err(); err != nil {
		return nil, false, fmt.Errorf("reading /%s: %w", path, err)
	}
	return lines, true, nil
}

func at(fields []string, i int) string {
	if i < len(fields) {
		return fields[i]
	}
	return ""
}

// memberOf lists the groups that name a user.
func memberOf(user string, groups [][]string) string {
	var in []string
	for _, g := range groups {
		if slices.Contains(strings.Split(at(g, 3), ","), user) {
			in = append(in, g[0])
		}
	}
	slices.SortFunc(in, cmp.Compare[string])
	return strings.Join(in, " ")
}
