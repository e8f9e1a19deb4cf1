//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/modlist"
)

// moduleList is the file of package builder/initramfs that names the modules.
const moduleList = "/lib/bootsmith/modules"

// loadModules loads the modules of the list. One that can't be loaded is no
// reason to stop: most are for hardware that this machine doesn't have.
func (b *boot) loadModules() error {
	list, err := os.Open(moduleList)
	if errors.Is(err, fs.ErrNotExist) {
		b.Debugf("there are no kernel modules to load: no %s", moduleList)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the list of kernel modules: %w", err)
	}
	defer list.Close()
	modules, err := modlist.Read(list)
	if err != nil {
		return fmt.Errorf("reading the list of kernel modules %q: %w", moduleList, err)
	}
	for _, m := range modules {
		if err := loadModule(m); err != nil {
			b.Debugf("loading %s: %v", m.Path, err)
		}
	}
	b.Debugf("loaded %d kernel modules in %v", len(modules), b.now().Sub(b.start))
	return nil
}

// loadModule has the kernel read, decompress and check a module itself
// (finit_module(2), CONFIG_MODULE_DECOMPRESS).
func loadModule(m modlist.Module) error {
	f, err := os.Open(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if m.Compressed {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return unix.FinitModule(int(f.Fd()), "", flags)
}
