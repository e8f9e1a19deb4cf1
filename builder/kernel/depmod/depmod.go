// Package depmod makes the files by which modprobe finds kernel modules, as
// depmod(8) does when a kernel package is installed: text files for people and
// binary indexes for libkmod, in /usr/lib/modules/<version>.
//
// Dependencies are those that the kernel's build wrote into each module
// ("depends=" in .modinfo), which it had from the same symbols that depmod
// compares.
package depmod

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Module is what the files say about a module.
type Module struct {
	// Path is relative to the folder of the kernel's modules:
	// "kernel/fs/erofs/erofs.ko.xz".
	Path string
	// Depends, Aliases, Softdeps and Weakdeps are values from .modinfo.
	Depends, Aliases, Softdeps, Weakdeps []string
	// Symbols are the names that the module exports.
	Symbols []string
}

// Name returns the module's name with underscores.
func (m Module) Name() string {
	base := path.Base(m.Path)
	if i := strings.Index(base, ".ko"); i > 0 {
		base = base[:i]
	}
	return canonical(base)
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Shipped are the files that a kernel package brings; missing ones are empty.
type Shipped struct {
	Order, Builtin, BuiltinModinfo []byte
}

// File is a file that was made.
type File struct {
	Name string
	Data []byte
}

// Files returns the files for a kernel's modules. The result doesn't depend on
// the order of modules.
func Files(modules []Module, shipped Shipped) ([]File, error) {
	sorted := inOrder(modules, shipped.Order)
	deps, err := dependencies(sorted)
	if err != nil {
		return nil, err
	}
	return []File{
		{"modules.dep", depText(sorted, deps)},
		{"modules.dep.bin", depIndex(sorted, deps)},
		{"modules.alias", aliasText(sorted)},
		{"modules.alias.bin", aliasIndex(sorted)},
		{"modules.softdep", pairs("# Soft dependencies extracted from modules themselves.\n", "softdep", sorted, func(m Module) []string { return m.Softdeps })},
		{"modules.weakdep", pairs("# Weak dependencies extracted from modules themselves.\n", "weakdep", sorted, func(m Module) []string { return m.Weakdeps })},
		{"modules.symbols", symbolText(sorted)},
		{"modules.symbols.bin", symbolIndex(sorted)},
		{"modules.builtin.bin", builtinIndex(shipped.Builtin)},
		{"modules.builtin.alias.bin", builtinAliasIndex(shipped.BuiltinModinfo)},
		{"modules.devname", deviceNames(sorted)},
	}, nil
}

// inOrder sorts by modules.order, which says which of several drivers for a
// device comes first; modules that it doesn't list follow by path.
func inOrder(modules []Module, order []byte) []Module {
	rank := map[string]int{}
	for line := range strings.Lines(string(order)) {
		rank[strings.TrimSpace(line)] = len(rank) + 1
	}
	rankOf := func(m Module) int {
		i := strings.LastIndex(m.Path, ".ko")
		if n := rank[m.Path[:max(i, 0)]+".ko"]; n > 0 {
			return n
		}
		return len(rank) + 1
	}
	sorted := slices.Clone(modules)
	slices.SortFunc(sorted, func(a, b Module) int {
		if x, y := rankOf(a), rankOf(b); x != y {
			return x - y
		}
		return strings.Compare(a.Path, b.Path)
	})
	return sorted
}

func depText(modules []Module, deps [][]int) []byte {
	var b bytes.Buffer
	for i := range modules {
		b.WriteString(depLine(modules, deps, i) + "\n")
	}
	return b.Bytes()
}

// depLine is "module: its dependencies", the nearest first.
func depLine(modules []Module, deps [][]int, i int) string {
	line := modules[i].Path + ":"
	for _, d := range deps[i] {
		line += " " + modules[d].Path
	}
	return line
}

func pairs(header, keyword string, modules []Module, values func(Module) []string) []byte {
	b := bytes.NewBufferString(header)
	for _, m := range modules {
		for _, v := range values(m) {
			fmt.Fprintf(b, "%s %s %s\n", keyword, m.Name(), v)
		}
	}
	return b.Bytes()
}

func aliasText(modules []Module) []byte {
	b := bytes.NewBufferString("# Aliases extracted from modules themselves.\n")
	for _, m := range modules {
		for _, a := range m.Aliases {
			fmt.Fprintf(b, "alias %s %s\n", a, m.Name())
		}
	}
	return b.Bytes()
}

func symbolText(modules []Module) []byte {
	b := bytes.NewBufferString("# Aliases for symbols, used by symbol_request().\n")
	for _, m := range modules {
		for _, s := range m.Symbols {
			fmt.Fprintf(b, "alias symbol:%s %s\n", s, m.Name())
		}
	}
	return b.Bytes()
}

// deviceNames lists static device nodes, whose opening loads a module: those
// with both a number and a name among their aliases.
func deviceNames(modules []Module) []byte {
	var b bytes.Buffer
	for _, m := range modules {
		var kind byte
		var major, minor uint32
		name := ""
		for _, a := range m.Aliases {
			if n, err := fmt.Sscanf(a, "char-major-%d-%d", &major, &minor); n == 2 && err == nil {
				kind = 'c'
			} else if n, err := fmt.Sscanf(a, "block-major-%d-%d", &major, &minor); n == 2 && err == nil {
				kind = 'b'
			} else if rest, ok := strings.CutPrefix(a, "devname:"); ok {
				name = rest
			}
			if kind != 0 && name != "" {
				if b.Len() == 0 {
					b.WriteString("# Device nodes to trigger on-demand module loading.\n")
				}
				fmt.Fprintf(&b, "%s %s %c%d:%d\n", m.Name(), name, kind, major, minor)
				break
			}
		}
	}
	return b.Bytes()
}
