package bootc

import (
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

const (
	tmpfilesDir    = "usr/lib/tmpfiles.d"
	etcTmpfilesDir = "etc/tmpfiles.d"
)

// place is a name in a directory, whatever links lead there.
type place struct {
	dir  *tree.Node
	name string
}

func checkVarTmpfiles(img Image) ([]string, error) {
	paths, err := UndeclaredVar(img)
	for i := range paths {
		paths[i] = "/" + paths[i]
	}
	return paths, err
}

// UndeclaredVar returns the paths below /var that tmpfiles.d does not declare,
// relative to the root, each directory before what it holds.
func UndeclaredVar(img Image) (paths []string, err error) {
	root, err := img.dir("var")
	if err != nil || root == nil {
		return nil, err
	}
	declared, err := img.tmpfiles()
	if err != nil {
		return nil, err
	}
	var walk func(dir *tree.Node, name string)
	walk = func(dir *tree.Node, name string) {
		for _, n := range dir.Children() {
			p := path.Join(name, n.Name)
			if !declared[place{dir, n.Name}] {
				paths = append(paths, p)
			}
			walk(n, p)
		}
	}
	walk(root, "var")
	return paths, nil
}

// tmpfiles returns what the lines of tmpfiles.d are about (tmpfiles.d(5)). A
// path below a directory that is not there names nothing.
func (img Image) tmpfiles() (map[place]bool, error) {
	declared := map[place]bool{}
	for _, dir := range []string{tmpfilesDir, etcTmpfilesDir} {
		err := img.eachFile(dir, ".conf", func(_ string, data []byte) error {
			for _, line := range configLines(data) {
				fields := configFields(line)
				if len(fields) < 2 {
					continue
				}
				// "%" begins a specifier, "%%" stands for itself.
				name := path.Clean("/" + strings.ReplaceAll(fields[1], "%%", "%"))
				parent, err := img.Tree.Resolve(path.Dir(name))
				if errors.Is(err, fs.ErrNotExist) || errors.Is(err, tree.ErrSymlinkLoop) {
					continue
				}
				if err != nil {
					return err
				}
				declared[place{parent, path.Base(name)}] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return declared, nil
}

// configFields splits a line of systemd's at white space, with its quotes and
// escape sequences (tmpfiles.d(5), "Configuration Directories and Precedence").
func configFields(line string) []string {
	var fields []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return fields
		}
		var field string
		field, line = cutField(line)
		fields = append(fields, field)
	}
}

// cutField cuts off the first field.
func cutField(line string) (field, rest string) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), line[i:]
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote:
			quote = 0
		case c == '\\' && i+3 < len(line) && line[i+1] == 'x':
			if v, err := strconv.ParseUint(line[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
			b.WriteByte(c)
		case c == '\\' && i+1 < len(line):
			i++
			if at := strings.IndexByte("ntr", line[i]); at >= 0 {
				b.WriteByte("\n\t\r"[at])
			} else {
				b.WriteByte(line[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}
