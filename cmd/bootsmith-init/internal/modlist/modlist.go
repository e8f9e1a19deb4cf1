// Package modlist reads the list of kernel modules in an initramfs.
package modlist

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxModules bounds the list; a kernel for every machine needs about 60.
const maxModules = 4096

// Module is a module to load.
type Module struct {
	// Path is the absolute path of its file.
	Path string
	// Compressed says that the kernel has to decompress it.
	Compressed bool
}

// Read reads a list with one absolute path per line, in load order. Empty lines
// are left out.
func Read(r io.Reader) ([]Module, error) {
	var modules []Module
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		if len(modules) == maxModules {
			return nil, fmt.Errorf("more than %d kernel modules are listed", maxModules)
		}
		m, err := parse(line)
		if err != nil {
			return nil, err
		}
		modules = append(modules, m)
	}
	return modules, lines.Err()
}

func parse(line string) (Module, error) {
	if !path.IsAbs(line) || path.Clean(line) != line || strings.IndexByte(line, 0) >= 0 {
		return Module{}, fmt.Errorf("%q is not the path of a kernel module", line)
	}
	switch path.Ext(line) {
	case ".ko":
		return Module{Path: line}, nil
	case ".xz", ".zst", ".gz":
		if path.Ext(strings.TrimSuffix(line, path.Ext(line))) == ".ko" {
			return Module{Path: line, Compressed: true}, nil
		}
	}
	return Module{}, fmt.Errorf("%q is not a kernel module: it ends in none of .ko, .ko.xz, .ko.zst and .ko.gz", line)
}
