package finish

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/finish/ldcache"
	"github.com/powernode/bootsmith/builder/tree"
)

// makeLibraryCache writes /etc/ld.so.cache as ldconfig(8) does: the libraries
// of the directories in /etc/ld.so.conf and of /lib and /usr/lib, by SONAME.
// Libraries for particular CPU generations (glibc-hwcaps) are left out.
func makeLibraryCache(_ context.Context, r *root, in Input) error {
	dirs, err := r.libraryDirs("etc/ld.so.conf", 0)
	if err != nil {
		return err
	}
	var entries []ldcache.Entry
	seenDir, seenLib := map[*tree.Node]bool{}, map[string]bool{}
	for _, dir := range append(dirs, "/lib", "/usr/lib") {
		n, err := r.tree.Resolve(dir)
		if err != nil || !n.Inode.IsDir() || seenDir[n] {
			continue
		}
		seenDir[n] = true
		for _, c := range n.Children() {
			soname, err := r.soname(path.Join(dir, c.Name), c.Name, elf.Machine(in.Arch.ELFMachine))
			if err != nil {
				return err
			}
			// A library is opened by the name in its directory that is its
			// SONAME; packages ship that link.
			if soname == "" || seenLib[soname] || n.Child(soname) == nil {
				continue
			}
			seenLib[soname] = true
			entries = append(entries, ldcache.Entry{Flags: ldcache.LibC6 | in.Arch.LibraryFlags, Name: soname, Path: path.Join(dir, soname)})
		}
	}
	var out bytes.Buffer
	if err := ldcache.Write(&out, entries); err != nil {
		return err
	}
	return r.write("etc/ld.so.cache", out.Bytes(), owned{mode: 0o644})
}

const maxIncludes = 8 // depth of "include" in ld.so.conf

// libraryDirs returns the directories of a configuration file in order.
func (r *root) libraryDirs(name string, depth int) ([]string, error) {
	if depth > maxIncludes {
		return nil, fmt.Errorf("reading %q: files include each other", name)
	}
	lines, err := r.lines(name)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, l := range lines {
		l, _, _ = strings.Cut(l, "#")
		l = strings.TrimSpace(l)
		pattern, included := strings.CutPrefix(l, "include ")
		switch {
		case included:
			dir, glob := path.Split(strings.TrimSpace(pattern))
			if !path.IsAbs(dir) {
				dir = path.Join(path.Dir(name), dir)
			}
			for _, file := range r.list(strings.TrimSuffix(dir, "/"), "") {
				if ok, err := path.Match(glob, file); err != nil || !ok {
					continue
				}
				more, err := r.libraryDirs(path.Join(dir, file), depth+1)
				if err != nil {
					return nil, err
				}
				dirs = append(dirs, more...)
			}
		case path.IsAbs(l):
			dirs = append(dirs, path.Clean(l))
		}
	}
	return dirs, nil
}

// maxLibrary bounds what is read of a library, in bytes.
const maxLibrary = 1 << 30

// soname returns the SONAME of a shared library for the machine, its file name
// if it has none, or "" when the file is no such library.
func (r *root) soname(at, name string, machine elf.Machine) (string, error) {
	if !strings.HasPrefix(name, "lib") && !strings.HasPrefix(name, "ld-") || !strings.Contains(name, ".so") {
		return "", nil
	}
	n, err := r.tree.Resolve(at)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // a dangling link
	}
	if err != nil {
		return "", err
	}
	if !n.Inode.IsRegular() || n.Inode.Size < 64 || n.Inode.Size > maxLibrary {
		return "", nil
	}
	data, err := r.openLibrary(n.Inode)
	if err != nil {
		return "", err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil || f.Machine != machine || f.Type != elf.ET_DYN {
		return "", nil // a linker script, or for another CPU
	}
	names, err := f.DynString(elf.DT_SONAME)
	if err != nil || !slices.ContainsFunc(names, func(s string) bool { return s != "" && !strings.Contains(s, "/") }) {
		return name, nil
	}
	return names[0], nil
}

func (r *root) openLibrary(inode *tree.Inode) ([]byte, error) {
	f, err := r.store.Open(inode.Content)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var head [4]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:]) != elf.ELFMAG {
		return nil, err
	}
	rest, err := io.ReadAll(io.LimitReader(f, maxLibrary))
	return append(head[:], rest...), err
}
