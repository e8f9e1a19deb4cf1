package families

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Files that say what an installed machine needs in /etc and /var. bootc copies
// both from the image when it installs, and never again: what a later image has
// there reaches a machine through these files alone.
const (
	sysusersFile = "usr/lib/sysusers.d/zz-bootsmith.conf"
	tmpfilesFile = "usr/lib/tmpfiles.d/zz-bootsmith.conf"
	// factoryDir is where systemd-tmpfiles copies files from.
	factoryDir = "usr/share/factory"
)

// declareState writes those files for what the root's own don't name.
func (b *bootLayer) declareState(contents *store.Store) error {
	image := bootc.Image{Tree: b.root, Open: contents.Open}
	users, groups, err := bootc.UndeclaredAccounts(image)
	if err != nil {
		return err
	}
	if len(users)+len(groups) > 0 {
		text, err := b.sysusers(contents, users, groups)
		if err != nil {
			return err
		}
		if err := b.addBytes(sysusersFile, text); err != nil {
			return err
		}
	}
	paths, err := bootc.UndeclaredVar(image)
	if err != nil || len(paths) == 0 {
		return err
	}
	var lines []string
	for _, p := range paths {
		line, err := b.tmpfile(p)
		if err != nil {
			return err
		}
		if line != "" {
			lines = append(lines, line+"\n")
		}
	}
	return b.addBytes(tmpfilesFile, []byte(strings.Join(lines, "")))
}

// sysusers returns a line for each account (sysusers.d(5)); groups come first,
// because users name them.
func (b *bootLayer) sysusers(contents *store.Store, users, groups []string) ([]byte, error) {
	passwd, err := b.accounts(contents, "etc/passwd", 7)
	if err != nil {
		return nil, err
	}
	group, err := b.accounts(contents, "etc/group", 4)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	for _, name := range groups {
		if f := group[name]; f != nil {
			fmt.Fprintf(&out, "g %s %s\n", name, f[2])
		}
	}
	for _, name := range users {
		if f := passwd[name]; f != nil {
			fmt.Fprintf(&out, "u %s %s:%s %s %s %s\n", name, f[2], f[3], quoteField(f[4]), quoteField(f[5]), quoteField(f[6]))
		}
	}
	return []byte(out.String()), nil
}

// accounts reads a passwd or group file: the fields of each line, by name.
func (b *bootLayer) accounts(contents *store.Store, name string, fields int) (map[string][]string, error) {
	all := map[string][]string{}
	n, err := b.root.Resolve(name)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := contents.Open(n.Inode.Content)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxText))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimRight(line, "\n"), ":"); len(f) == fields {
			all[f[0]] = f
		}
	}
	return all, nil
}

// tmpfile returns the line for a path below /var (tmpfiles.d(5)), and keeps a
// copy of a file that is not empty where the line takes it from.
func (b *bootLayer) tmpfile(name string) (string, error) {
	n, err := b.root.Lookup(name)
	if err != nil {
		return "", err
	}
	i := n.Inode
	if changed, err := b.tree.Lookup(name); err == nil {
		i = changed.Inode
	}
	line := func(kind, argument string) string {
		return fmt.Sprintf("%s %s %04o %d %d - %s", kind, quoteField("/"+name), i.Mode&0o7777, i.UID, i.GID, argument)
	}
	switch i.Type() {
	case tree.TypeDir:
		return line("d", "-"), nil
	case tree.TypeSymlink:
		return fmt.Sprintf("L %s - - - - %s", quoteField("/"+name), quoteField(i.Target)), nil
	case tree.TypeFifo:
		return line("p", "-"), nil
	case tree.TypeChar:
		return line("c", fmt.Sprintf("%d:%d", i.Major, i.Minor)), nil
	case tree.TypeBlock:
		return line("b", fmt.Sprintf("%d:%d", i.Major, i.Minor)), nil
	}
	if i.Size == 0 {
		return line("f", "-"), nil
	}
	source := path.Join(factoryDir, name)
	if b.has(source) {
		return line("C", quoteField("/"+source)), nil
	}
	dir, err := b.dir(path.Dir(source), 0o755)
	if err != nil {
		return "", err
	}
	inode := *i
	return line("C", quoteField("/"+source)), b.tree.Put(path.Join(dir, path.Base(source)), &inode)
}

// quoteField writes a field of a line of systemd's: in escape sequences what
// would end it or mean something else, "-" for nothing.
func quoteField(s string) string {
	if s == "" {
		return "-"
	}
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%':
			b.WriteString("%%")
		case c <= ' ' || c == '"' || c == '\'' || c == '\\' || c >= 0x7f:
			fmt.Fprintf(&b, "\\x%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
